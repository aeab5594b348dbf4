//! Parameters of the model, and where they lie in the stacks.

use crate::Result;
use crate::groups::{Derived, Rows};
use crate::stack::Stack;
use std::cell::Cell;
use std::ops::Range;
use tch::Tensor;

/// A parameter of the model, or a part of one, and its place in a stack.
#[derive(Debug)]
pub(crate) struct Place {
    pub name: String,
    /// Pattern of its group with the group's roles, or its role if no group matches it.
    pub group: String,
    /// The model's own tensor. It is a view of [`Stack::model`], or if `rows` are given has its own memory.
    pub tensor: Tensor,
    /// Rows of the tensor that this part has; `None` for a whole parameter.
    pub rows: Option<Rows>,
    /// Size of the tensor.
    pub size: Vec<i64>,
    pub role: Derived,
    /// Number of parts, which are stepped like so many parameters of their own; 1 if the parameter has none.
    pub parts: i64,
    pub stack: usize,
    /// Index of its first matrix in the stack.
    pub index: i64,
    /// Number of its matrices, which follow each other in the stack.
    pub count: i64,
    /// Version of the tensor when its values were last known. Another version means that the caller has written to it.
    pub version: Cell<i64>,
    /// Version of the gradient that was last used or zeroed. The same version means that there is no new gradient.
    pub used: Cell<i64>,
    /// Number of steps with a new gradient since [`refused`](crate::TransportedScion::refused) was last called.
    pub offered: u64,
}

impl Place {
    /// Notes that the gradient as it is now is no longer new.
    pub fn use_gradient(&self) {
        let gradient = self.tensor.grad();
        // Every gradient that is defined has a version of 0 or more.
        self.used.set(if gradient.defined() { gradient.internal_version() } else { -1 });
    }

    /// Returns whether it has a gradient that was neither used nor zeroed.
    pub fn has_new_gradient(&self) -> bool {
        let gradient = self.tensor.grad();
        gradient.defined() && gradient.internal_version() != self.used.get()
    }

    /// Returns the indices of its matrices in the stack.
    pub fn matrices(&self) -> Range<usize> {
        self.index as usize..(self.index + self.count) as usize
    }

    /// Returns its matrices in a stack, with the size that the model uses.
    pub fn of(&self, stack: &Tensor) -> Result<Tensor> {
        let matrices = stack.f_narrow(0, self.index, self.count)?;
        match &self.rows {
            None => Ok(matrices.f_view(&self.size[..])?),
            Some(rows) => Ok(matrices.f_view(&rows.size(&self.size)[..])?),
        }
    }

    /// Returns what it has of a tensor with the size of the model's.
    pub fn own(&self, tensor: &Tensor) -> Result<Tensor> {
        self.rows.as_ref().map_or_else(|| Ok(tensor.shallow_clone()), |rows| rows.of(tensor))
    }

    /// Returns the number of its elements.
    pub fn numbers(&self, stacks: &[Stack]) -> usize {
        let (m, n) = stacks[self.stack].shape;
        self.count as usize * m * n
    }

    /// Returns whether `tensor` lies in this parameter's memory in `stack`.
    pub fn is_in(&self, stack: &Tensor, tensor: &Tensor) -> bool {
        let bytes = stack.numel() / stack.size()[0] as usize * stack.kind().elt_size_in_bytes();
        tensor.defined() && tensor.data_ptr() as usize == stack.data_ptr() as usize + self.index as usize * bytes
    }
}
