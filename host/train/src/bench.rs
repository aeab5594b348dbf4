//! Time of an optimizer step, as a multiple of the matrix products in it.

use graftage_core::matrix::{self, Matrix};
use graftage_core::polar::{Quintics, polar};
use graftage_core::scion::{Geometry, Rule};
use graftage_optim::tensor::{Arithmetic, Operand};
use graftage_optim::{Group, Groups, RULE, Result, TransportedScion, named};
use serde::Serialize;
use std::cell::Cell;
use std::time::Instant;
use tch::nn::{self, OptimizerConfig};
use tch::{Cuda, Device, Kind, Tensor, no_grad_guard};

/// Options of [`optimizer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Width w of the model: a layer has four matrices w×w, one 4w×w and one w×4w.
    pub width: u32,
    /// Number of layers of the model.
    pub layers: u32,
    /// Quintics that compute spectral directions.
    pub quintics: Quintics,
    /// Number of timings of each row, in turn with all others; at least 1.
    pub repeats: u32,
    /// Device that computes.
    pub device: Device,
}

/// Times of one optimizer's step, or of the products alone.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// Name of the timed operation.
    pub name: String,
    /// Kind of its products.
    pub kind: String,
    /// Time in milliseconds: lower quartile, median, upper quartile.
    pub milliseconds: [f64; 3],
    /// Time divided by that of the products of this kind in the same turn: lower quartile, median, upper quartile.
    pub ratio: [f64; 3],
    /// Rate in 10^12 additions and multiplications per second at the median time; only for matrix products alone.
    pub rate: Option<f64>,
}

/// Result of [`optimizer`].
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Table {
    /// Number of elements of all parameters.
    pub parameters: usize,
    /// Device.
    pub device: String,
    /// Number of libtorch's CPU threads.
    pub threads: usize,
    /// Name of the quintics.
    pub quintics: String,
    /// For each kind: one large product, the products of the polar iterations, and the step that contains them. Then
    /// libtorch's own optimizers.
    pub rows: Vec<Row>,
}

/// A timed operation.
type Timed = Box<dyn FnMut() -> Result<()>>;

/// Times a step of [`TransportedScion`] on the hidden matrices of a transformer, the products of its polar iterations
/// alone, one product that is large enough to show the device's rate, and a step of libtorch's AdamW and SGD. They run
/// in turn, many times. `progress` receives the number of each turn.
///
/// The products are those that core's own iteration requests on the same stacks, into existing memory. Gradients exist
/// before, too, so only the step is timed, on a GPU until it has finished.
///
/// # Errors
/// Returns an error if libtorch fails.
pub fn optimizer(options: Options, mut progress: impl FnMut(u32)) -> Result<Table> {
    let rule = Rule { quintics: options.quintics, ..RULE };
    let mut rows: Vec<(&str, Kind, Option<f64>, Timed)> = Vec::new();
    for kind in [Kind::Float, Kind::BFloat16] {
        let side = if options.device.is_cuda() { 8192 } else { 1024 };
        let large = || Tensor::f_randn([side, side], (kind, options.device));
        let (a, b, out) = (large()?, large()?, large()?);
        let work = 2.0 * (side as f64).powi(3);
        rows.push((
            "one large product",
            kind,
            Some(work),
            Box::new(move || {
                let _ = a.f_matmul_out(&out, &b)?;
                Ok(())
            }),
        ));
        let mut products: Vec<_> = sizes(&options).map(|size| Products::new(size, kind, options.device)).collect();
        let work = products.iter_mut().map(|products| products.all(rule.quintics)).sum();
        rows.push((
            "products",
            kind,
            Some(work),
            Box::new(move || {
                products.iter_mut().for_each(|products| _ = products.all(rule.quintics));
                Ok(())
            }),
        ));
        let (store, groups) = (model(&options)?, Groups::only([Group::new("*").geometry(Geometry::HIDDEN)]));
        let optimizer = TransportedScion::with_groups(named(&store), rule, Arithmetic::Fast, &groups)?;
        let mut optimizer = if kind == Kind::BFloat16 { optimizer.bfloat16() } else { optimizer };
        rows.push((
            "Transported Scion",
            kind,
            None,
            Box::new(move || {
                let _model = &store;
                optimizer.step()
            }),
        ));
    }
    for (name, adam) in [("AdamW", true), ("SGD", false)] {
        let store = model(&options)?;
        let mut optimizer = match adam {
            true => nn::AdamW::default().build(&store, 1e-3)?,
            false => nn::Sgd { momentum: 0.9, ..nn::Sgd::default() }.build(&store, 1e-3)?,
        };
        rows.push((
            name,
            Kind::Float,
            None,
            Box::new(move || {
                let _model = &store;
                optimizer.step();
                Ok(())
            }),
        ));
    }

    let mut times = vec![Vec::new(); rows.len()];
    // The first turn allocates the arrays and is not counted.
    for turn in 0..=options.repeats {
        progress(turn);
        for ((.., step), times) in rows.iter_mut().zip(&mut times) {
            let start = Instant::now();
            step()?;
            if let Device::Cuda(index) = options.device {
                Cuda::synchronize(index as i64);
            }
            if turn > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }

    let products = |kind: Kind| rows.iter().position(|row| (row.0, row.1) == ("products", kind)).unwrap_or(0);
    let row = |((name, kind, work, _), own): (&(&str, Kind, Option<f64>, _), &Vec<f64>)| {
        let ratios = own.iter().zip(&times[products(*kind)]).map(|(own, products)| own / products);
        let milliseconds = quartiles(own.clone());
        Row {
            name: (*name).to_owned(),
            kind: format!("{kind:?}"),
            milliseconds,
            rate: work.map(|work| work / milliseconds[1] / 1e9),
            ratio: quartiles(ratios.collect()),
        }
    };
    Ok(Table {
        parameters: sizes(&options).map(|size| size.iter().product::<i64>() as usize).sum(),
        device: format!("{:?}", options.device),
        threads: tch::get_num_threads() as usize,
        quintics: format!("{:?}", rule.quintics),
        rows: rows.iter().zip(&times).map(row).collect(),
    })
}

/// Returns the stacks [s, m, n] of the model.
fn sizes(options: &Options) -> impl Iterator<Item = [i64; 3]> {
    let (layers, width) = (i64::from(options.layers), i64::from(options.width));
    [[4 * layers, width, width], [layers, 4 * width, width], [layers, width, 4 * width]].into_iter()
}

/// Creates random parameters with random gradients.
fn model(options: &Options) -> Result<nn::VarStore> {
    let store = nn::VarStore::new(options.device);
    for [count, m, n] in sizes(options) {
        for index in 0..count {
            let size = [m, n];
            let tensor =
                store.root().f_var(&format!("{m}x{n}-{index}"), &size, nn::Init::Randn { mean: 0.0, stdev: 0.02 })?;
            (&tensor * Tensor::f_randn(size, (Kind::Float, options.device))?).f_sum(Kind::Float)?.f_backward()?;
        }
    }
    Ok(store)
}

/// Returns lower quartile, median and upper quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values.get((values.len().saturating_sub(1) * quarter + 2) / 4).copied().unwrap_or(f64::NAN))
}

/// A stack on which core's iteration computes only its matrix products. All other operations do nothing. The products
/// write into existing memory, and the stack itself does not change.
struct Products {
    stack: Tensor,
    out: Tensor,
    squares: [Tensor; 3],
    /// Number of additions and multiplications since the last count.
    work: Cell<f64>,
}

impl Products {
    fn new(size: [i64; 3], kind: Kind, device: Device) -> Self {
        let _guard = no_grad_guard();
        let [count, m, n] = size;
        let (k, options) = (m.min(n), (kind, device));
        // Orthonormal on the small side, so that products of products stay in range.
        let stack = Tensor::eye(k, options).repeat([1, m / k, n / k]).expand(size, false)
            * ((k as f64) / (m.max(n) as f64)).sqrt();
        let square = || Tensor::zeros([count, k, k], options);
        Self { out: stack.zeros_like(), stack, squares: [square(), square(), square()], work: Cell::new(0.0) }
    }

    /// Computes all products and returns their number of additions and multiplications.
    fn all(&mut self, quintics: Quintics) -> f64 {
        let mut squares = self.squares.each_ref().map(Tensor::shallow_clone);
        polar(self, quintics, &mut squares.each_mut());
        self.work.take()
    }

    /// Computes out ← a b.
    fn product(&self, a: &Tensor, b: &Tensor, out: &Tensor) {
        let _ = a.bmm_out(out, b);
        self.work.set(self.work.get() + 2.0 * out.numel() as f64 * a.size()[2] as f64);
    }

    fn is_wide(&self) -> bool {
        let (m, n) = self.shape();
        m <= n
    }
}

impl Matrix for Products {
    type Square = Tensor;
    type Element = Operand;
    type Start = Tensor;

    fn shape(&self) -> (usize, usize) {
        let size = self.stack.size();
        (size[1] as usize, size[2] as usize)
    }
    fn is_precise(&self) -> bool {
        self.stack.kind() != Kind::BFloat16
    }
    fn copy(&mut self, _other: &Self) {}
    fn combine(&mut self, _a: f32, _b: f32, _other: &Self) {}
    fn pull(&mut self, _a: f32, _b: f32, _start: &Tensor, _x: &Self) {}
    fn map(_x: &mut Self, _y: &mut Self, _d: &Self, _f: impl Fn(Operand, Operand, Operand) -> (Operand, Operand)) {}
    fn sign(&mut self, _other: &Self) {}
    fn normalise(&mut self, _group: matrix::Group) {}
    fn inner(&self, _other: &Self) -> Operand {
        Operand::from(Tensor::new())
    }
    fn cosine(&self, _other: &Self) -> Operand {
        Operand::from(Tensor::new())
    }
    fn gram(&self, gram: &mut Tensor, _scratch: &mut Tensor) {
        let (s, t) = (&self.stack, self.stack.mt());
        if self.is_wide() { self.product(s, &t, gram) } else { self.product(&t, s, gram) }
    }
    fn multiply(&self, _c: f32, left: (f32, &Tensor), right: (f32, &Tensor), out: &mut Tensor) {
        self.product(left.1, &right.1.mt(), out);
    }
    fn transform(&mut self, _a: f32, p: &Tensor, _scratch: &mut Tensor) {
        let (s, p) = (&self.stack, p.mt());
        if self.is_wide() { self.product(&p, s, &self.out) } else { self.product(s, &p, &self.out) }
    }
}
