//! Subject of the experiments: an implementation of the rule that moves one matrix.

use graftage::error::{Error, Result};
use graftage_core::matrix::{RowMajor, Slab, square};
use graftage_core::norm::{Norm, Workspace};
use graftage_core::polar::Quintics;
use graftage_core::scion::{Geometry, Rule, Scion};
use graftage_core::transport::Alignment;

/// An implementation of the rule: an m×n matrix that moves as it receives gradients. All matrices are stored row by
/// row.
pub trait Subject: Sized {
    /// Creates the subject at the weights X, before the first step.
    ///
    /// # Errors
    /// Returns an error if the rule, the geometry or the number of weights is refused.
    fn start(shape: (usize, usize), geometry: Geometry, rule: &Rule, x: &[f32]) -> Result<Self>;

    /// Takes one step with a batch of gradients, stored one after another.
    fn step(&mut self, gradients: &[f32]);

    /// Returns the weights X.
    fn x(&self) -> &[f32];

    /// Returns the query point Y, where the next step's gradients are to be taken.
    fn y(&self) -> &[f32];

    /// Returns the momentum of the last step.
    fn m(&self) -> &[f32];
}

/// A matrix with its own memory.
type Owned = Slab<Vec<f32>>;

/// Core's rule over a [`Slab`], as this library ships it.
#[derive(Debug)]
pub struct Core {
    state: Scion<Owned>,
    gradient: Owned,
    direction: Owned,
    squares: [Vec<f32>; 3],
    alignment: Alignment<f32>,
    geometry: Geometry,
    rule: Rule,
    /// Number of the next step.
    t: u64,
}

fn owned((m, n): (usize, usize), elements: Vec<f32>) -> Result<Owned> {
    let count = elements.len();
    Slab::new(m, n, elements).ok_or_else(|| Error::Usage(format!("a matrix of {m}×{n} has more than {count} weights")))
}

fn zeros((m, n): (usize, usize)) -> Result<Owned> {
    owned((m, n), vec![0.0; m * n])
}

impl Subject for Core {
    fn start(shape: (usize, usize), geometry: Geometry, rule: &Rule, x: &[f32]) -> Result<Self> {
        rule.check()?;
        geometry.check()?;
        let mut state = Scion { x: owned(shape, x.to_vec())?, y: zeros(shape)?, m: zeros(shape)? };
        state.start();
        Ok(Self {
            state,
            gradient: zeros(shape)?,
            direction: zeros(shape)?,
            squares: squares(shape),
            alignment: Alignment::START,
            geometry,
            rule: *rule,
            t: 1,
        })
    }

    fn step(&mut self, gradients: &[f32]) {
        let Self { state, gradient, direction, squares, alignment, geometry, rule, t } = self;
        let size = gradient.elements().len();
        let weight = rule.weight(*t, (gradients.len() / size) as u32);
        let mut keep = rule.keep(*t);
        for sample in gradients.chunks_exact(size) {
            gradient.elements_mut().copy_from_slice(sample);
            state.accumulate(keep, weight, gradient);
            keep = 1.0;
        }
        let mut work = Workspace { direction, squares: squares.each_mut().map(Vec::as_mut_slice) };
        state.advance(*geometry, rule, *t, None, alignment, &mut work);
        *t += 1;
    }

    fn x(&self) -> &[f32] {
        self.state.x.elements()
    }

    fn y(&self) -> &[f32] {
        self.state.y.elements()
    }

    fn m(&self) -> &[f32] {
        self.state.m.elements()
    }
}

fn squares((m, n): (usize, usize)) -> [Vec<f32>; 3] {
    [(); 3].map(|()| vec![0.0; square(m.min(n))])
}

/// Gauge for nuclear norms and polar factors of m×n matrices, by core's converged quintics: accurate to 10⁻⁶ of the
/// norm.
#[derive(Debug)]
pub struct Gauge {
    matrix: Owned,
    direction: Owned,
    squares: [Vec<f32>; 3],
}

impl Gauge {
    /// Creates a gauge for matrices of this shape.
    ///
    /// # Errors
    /// Does not fail for a shape that fits into memory.
    pub fn new(shape: (usize, usize)) -> Result<Self> {
        Ok(Self { matrix: zeros(shape)?, direction: zeros(shape)?, squares: squares(shape) })
    }

    fn with<T>(
        &mut self,
        elements: impl IntoIterator<Item = f32>,
        f: impl FnOnce(&Owned, &mut Workspace<Owned>) -> T,
    ) -> T {
        let Self { matrix, direction, squares } = self;
        matrix.elements_mut().iter_mut().zip(elements).for_each(|(to, from)| *to = from);
        f(matrix, &mut Workspace { direction, squares: squares.each_mut().map(Vec::as_mut_slice) })
    }

    /// Computes ‖G‖_nuc of a matrix stored row by row.
    pub fn nuclear(&mut self, g: &[f64]) -> f64 {
        let factor = f64::from(Norm::Spectral.factor(RowMajor::shape(&self.matrix)));
        let dual = self.with(g.iter().map(|e| *e as f32), |g, work| Norm::Spectral.dual(g, Quintics::Converged, work));
        f64::from(dual) / factor
    }

    /// Computes polar(M), row by row.
    pub fn polar(&mut self, m: &[f32], into: &mut [f64]) {
        self.with(m.iter().copied(), |m, work| {
            Norm::Spectral.direction(m, Quintics::Converged, work);
            into.iter_mut().zip(work.direction.elements()).for_each(|(to, from)| *to = f64::from(*from));
        });
    }
}

/// Returns the geometry whose oracle is the negative polar factor itself.
pub fn polar_geometry(shape: (usize, usize)) -> Geometry {
    Geometry { norm: Norm::Spectral, radius: 1.0 / Norm::Spectral.factor(shape) }
}
