//! Wrong updates that any implementation can be given.

use graftage::error::Result;
use graftage_core::scion::{Geometry, Rule};
use graftage_theory::implementation::Subject;

/// Implementation whose factor of transport is 1 % too large.
pub struct Overshot<S> {
    inner: S,
    y: Vec<f32>,
}

impl<S: Subject> Subject for Overshot<S> {
    fn start(shape: (usize, usize), geometry: Geometry, rule: &Rule, x: &[f32]) -> Result<Self> {
        Ok(Self { inner: S::start(shape, geometry, rule, x)?, y: x.to_vec() })
    }
    fn step(&mut self, gradients: &[f32]) {
        self.inner.step(gradients);
        for ((to, x), y) in self.y.iter_mut().zip(self.inner.x()).zip(self.inner.y()) {
            *to = x + 1.01 * (y - x);
        }
    }
    fn x(&self) -> &[f32] {
        self.inner.x()
    }
    fn y(&self) -> &[f32] {
        &self.y
    }
    fn m(&self) -> &[f32] {
        self.inner.m()
    }
}

/// Implementation whose momentum starts at 0 and takes 1 − β of the first gradient, as of all others. Its factor of
/// transport is the same.
pub struct FromZero<S> {
    inner: S,
    /// 1 − β, for the first step.
    first: Option<f32>,
}

impl<S: Subject> Subject for FromZero<S> {
    fn start(shape: (usize, usize), geometry: Geometry, rule: &Rule, x: &[f32]) -> Result<Self> {
        Ok(Self { inner: S::start(shape, geometry, rule, x)?, first: Some(1.0 - rule.keep(2)) })
    }
    fn step(&mut self, gradients: &[f32]) {
        // The oracle does not see the scale.
        let scale = self.first.take().unwrap_or(1.0);
        self.inner.step(&gradients.iter().map(|g| scale * g).collect::<Vec<_>>());
    }
    fn x(&self) -> &[f32] {
        self.inner.x()
    }
    fn y(&self) -> &[f32] {
        self.inner.y()
    }
    fn m(&self) -> &[f32] {
        self.inner.m()
    }
}
