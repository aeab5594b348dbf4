//! State of an optimizer, as tensors and as a safetensors file.

use super::{Error, Place, Result, TransportedScion};
use crate::tensor::Operand;
use graftage_core::transport::{Alignment, Transport};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use tch::{Kind, Tensor, no_grad_guard};

/// Suffix of X₀ after a parameter's name, in [`TransportedScion::state`].
const START: &str = "start";

/// Suffix of an average after a parameter's name, in [`TransportedScion::state`].
const AVERAGE: &str = "average";

/// Prefix of the limiter's means per stack, in [`TransportedScion::state`].
const LIMITER: &str = "limiter";

/// Prefix of the alignment law's values per stack, in [`TransportedScion::state`].
const ALIGNMENT: &str = "alignment";

/// Name of the number of steps taken, in the state of any optimizer.
pub(super) const STEPS: &str = "steps";

/// Name of the law of transport, in [`TransportedScion::state`].
const LAW: &str = "law";

/// Suffix of a parameter's norm after its name, in [`TransportedScion::state`].
const NORM: &str = "norm";

impl TransportedScion {
    /// Returns the state from which a later run resumes: X, Y and M of each parameter as `NAME.x`, `NAME.y` and
    /// `NAME.m`, X₀ as `NAME.start` under a pull to the start, an average as `NAME.average`, the sums of the alignment
    /// law and of the limiter for each stack, and `steps`. A parameter that a baseline steps has X and the
    /// [arrays](crate::baselines::Baseline::arrays). Under Nesterov's law `NAME.y` is M before the last step. `law` and
    /// `NAME.norm` are the letters, as numbers, of the law of transport and of the norm, for which these numbers were
    /// computed.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.adopt()?;
        let mut state =
            vec![(STEPS.to_owned(), Tensor::from(self.steps as i64)), (LAW.to_owned(), letters(self.law()))];
        for place in &self.places {
            state.push((format!("{}.{NORM}", place.name), letters(&self.norm(place))));
            for (array, tensor) in self.arrays(place)? {
                state.push((format!("{}.{array}", place.name), tensor.detach().to_kind(Kind::Float).copy()));
            }
        }
        for (index, stack) in self.stacks.iter().enumerate() {
            if let Some(norms) = &stack.norms {
                state.push((format!("{LIMITER}.{index}"), norms.copy()));
            }
            if let Some(mean) = &stack.alignment.mean {
                state.push((format!("{ALIGNMENT}.{index}.mean"), mean.tensor().copy()));
                state.push((format!("{ALIGNMENT}.{index}.weight"), Tensor::from(stack.alignment.weight)));
            }
        }
        Ok(state)
    }

    /// Restores a state that [`TransportedScion::state`] returned for the same kind of model. The next step is the same
    /// as without the interruption. The rule remains the optimizer's own.
    ///
    /// # Errors
    /// Returns an error if a tensor is missing, has another size or belongs to no parameter, or if the state is of
    /// another law of transport or another norm; nothing has changed then.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let _guard = no_grad_guard();
        self.adopt()?;
        let mut wanted = Vec::new();
        for place in &self.places {
            for (array, tensor) in self.arrays(place)? {
                let name = format!("{}.{array}", place.name);
                // An average begins at the restored X if the run before kept none.
                if array != AVERAGE || find(state, &name).is_some() {
                    wanted.push((name, tensor));
                }
            }
        }
        let Matched { steps, copies } = matched(state, wanted, |name| {
            let of_stack = [ALIGNMENT, LIMITER].into_iter().find_map(|prefix| name.strip_prefix(prefix));
            let index = of_stack.and_then(|rest| rest.split('.').nth(1));
            // X₀ of a run with a pull to the start, or an average, if this run has none.
            let extra = [START, AVERAGE].into_iter().find_map(|suffix| name.strip_suffix(suffix));
            let start = extra.and_then(|rest| rest.strip_suffix('.'));
            let norm = name.strip_suffix(NORM).and_then(|rest| rest.strip_suffix('.'));
            name == LAW
                || norm.is_some_and(|norm| self.names().any(|name| name == norm))
                || index.is_some_and(|index| index.parse().is_ok_and(|index: usize| index < self.stacks.len()))
                || start.is_some_and(|start| self.names().any(|name| name == start))
        })?;
        let same = |name: &str, what: &str, own: &str| match find(state, name).map(words).transpose()? {
            Some(found) if found != own => Err(Error::Parameter {
                name: what.to_owned(),
                what: format!("the state is of {found}, but the optimizer of {own}"),
            }),
            // States of former versions do not say.
            _ => Ok(()),
        };
        same(LAW, "the rule", self.law())?;
        for place in &self.places {
            same(&format!("{}.{NORM}", place.name), &place.name, &self.norm(place))?;
        }
        let mut alignments = Vec::new();
        for (index, stack) in self.stacks.iter().enumerate() {
            let found = |what: &str| find(state, &format!("{ALIGNMENT}.{index}.{what}"));
            alignments.push(match (found("mean"), found("weight")) {
                (Some(mean), Some(weight)) => Alignment {
                    mean: Some(Operand::from(mean.to_device(stack.model.device()))),
                    weight: f32::try_from(weight)?,
                },
                _ => Alignment::START,
            });
        }
        for (mut to, from) in copies {
            to.f_copy_(from)?;
        }
        for place in &self.places {
            let stack = &self.stacks[place.stack];
            if let Some(average) = &stack.average
                && find(state, &format!("{}.{AVERAGE}", place.name)).is_none()
            {
                place.of(average)?.f_copy_(&place.of(stack.x())?)?;
            }
        }
        for (index, (stack, alignment)) in self.stacks.iter_mut().zip(alignments).enumerate() {
            stack.alignment = alignment;
            let norms =
                find(state, &format!("{LIMITER}.{index}")).filter(|norms| norms.size() == stack.admitted.size());
            stack.norms = norms.map(|norms| norms.to_device(stack.model.device()));
        }
        for stack in self.stacks.iter().filter(|stack| stack.is_rounded()) {
            // Y is in the state, but not where the model holds X.
            if stack.before.is_some() || stack.settings.baseline.is_some() {
                stack.model.shallow_clone().f_copy_(stack.x())?;
            }
        }
        self.publish()?;
        self.steps = steps;
        Ok(())
    }

    /// Law of transport, by name.
    fn law(&self) -> &'static str {
        match self.rule.transport {
            Transport::Fixed { theta: 0.0 } => "no transport",
            Transport::Fixed { .. } => "fixed transport",
            Transport::Lag { .. } => "lag feedback",
            Transport::Alignment { .. } => "alignment",
            Transport::Nesterov => "Nesterov's law",
        }
    }

    /// Norm of a parameter, by name.
    fn norm(&self, place: &Place) -> String {
        format!("the norm {:?}", self.stacks[place.stack].settings.geometry.norm)
    }

    /// Returns the arrays of a parameter by name: X, Y (M before the last step under Nesterov's law), M and, if there
    /// is one, X₀. They are not copies, except Y if it equals X.
    fn arrays(&self, place: &Place) -> Result<Vec<(&'static str, Tensor)>> {
        let stack = &self.stacks[place.stack];
        let y = match (&stack.before, &stack.x) {
            (Some(before), _) => place.of(before)?,
            (None, Some(_)) => place.of(&stack.model)?,
            (None, None) => place.of(&stack.model)?.copy(),
        };
        let mut arrays = vec![("x", place.of(stack.x())?)];
        if stack.settings.baseline.is_none() {
            arrays.push(("y", y));
        }
        for (name, array) in stack.settings.arrays().iter().zip(&stack.arrays) {
            arrays.push((name, place.of(array)?));
        }
        for (name, array) in [(START, &stack.start), (AVERAGE, &stack.average)] {
            if let Some(array) = array {
                arrays.push((name, place.of(array)?));
            }
        }
        Ok(arrays)
    }

    /// Writes [`TransportedScion::state`] to a safetensors file, see [`write()`].
    ///
    /// # Errors
    /// Returns an error if libtorch fails, a number is not finite, or the file cannot be written; an existing file is
    /// kept then.
    pub fn save(&self, path: &Path) -> Result<()> {
        write(path, &self.state()?, HashMap::new())
    }

    /// Restores what [`TransportedScion::save`] wrote, see [`TransportedScion::restore`].
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, is not a safetensors file, or holds names or shapes of another
    /// model. The message names the tensor, and nothing has changed.
    pub fn load(&mut self, path: &Path) -> Result<()> {
        let (state, _) = read(path)?;
        self.restore(&state).map_err(|error| Error::content(path, error))
    }
}

/// Returns the letters of a text as numbers.
fn letters(text: &str) -> Tensor {
    Tensor::from_slice(&text.bytes().map(i64::from).collect::<Vec<_>>())
}

/// Returns the text of these letters.
fn words(letters: &Tensor) -> Result<String> {
    let letters = Vec::<i64>::try_from(letters.f_flatten(0, -1)?)?;
    Ok(letters.iter().map(|letter| u32::try_from(*letter).ok().and_then(char::from_u32).unwrap_or('?')).collect())
}

/// Counterparts of an optimizer's arrays in a state.
pub(super) struct Matched<'a> {
    pub steps: u64,
    /// Pairs of a destination array and the tensor to copy into it.
    pub copies: Vec<(Tensor, &'a Tensor)>,
}

/// Finds these arrays in a state. `also` accepts the names of other tensors that the state may hold.
///
/// # Errors
/// Returns an error if an array is missing or has another size, or if a tensor is neither an array nor accepted.
pub(super) fn matched(state: &[(String, Tensor)], arrays: Tensors, also: impl Fn(&str) -> bool) -> Result<Matched<'_>> {
    let wrong = |name: &str, what: &str| Error::Parameter { name: name.to_owned(), what: what.to_owned() };
    let missing = |name: &str| wrong(name, "is missing from the state");
    let steps = i64::try_from(find(state, STEPS).ok_or_else(|| missing(STEPS))?)? as u64;
    let known: HashSet<_> = arrays.iter().map(|(name, _)| name.as_str()).collect();
    let stranger = state.iter().find(|(name, _)| !(name == STEPS || known.contains(name.as_str()) || also(name)));
    let mut copies = Vec::new();
    for (name, to) in &arrays {
        let from = find(state, name).ok_or_else(|| missing(name))?;
        if from.size() != to.size() {
            return Err(wrong(name, "has a different size in the state"));
        }
        copies.push((to.shallow_clone(), from));
    }
    match stranger {
        Some((name, _)) => Err(wrong(name, "is in the state, but not in the model")),
        None => Ok(Matched { steps, copies }),
    }
}

fn find<'a>(state: &'a [(String, Tensor)], name: &str) -> Option<&'a Tensor> {
    state.iter().find(|(found, _)| found == name).map(|(_, tensor)| tensor)
}

/// Named tensors.
pub type Tensors = Vec<(String, Tensor)>;

/// Returns the bytes of a safetensors file with these tensors, of kind Float or Int64.
///
/// # Errors
/// Returns an error that names the file if a number is not finite, or an error if libtorch fails.
pub fn bytes(path: &Path, tensors: &[(String, Tensor)], metadata: HashMap<String, String>) -> Result<Vec<u8>> {
    let mut arrays = Vec::new();
    for (name, tensor) in tensors {
        let shape: Vec<_> = tensor.size().into_iter().map(|n| n as usize).collect();
        let flat = tensor.f_flatten(0, -1)?;
        let (dtype, bytes) = match tensor.kind() {
            Kind::Int64 => (Dtype::I64, little_endian(&Vec::<i64>::try_from(&flat)?, |e| e.to_le_bytes())),
            _ => {
                let numbers = Vec::<f32>::try_from(&flat)?;
                if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
                    return Err(Error::content(path, format!("not written, because {name} contains {number}")));
                }
                (Dtype::F32, little_endian(&numbers, |e| e.to_le_bytes()))
            }
        };
        arrays.push((name, dtype, shape, bytes));
    }
    let views = arrays.iter().map(|(name, dtype, shape, bytes)| {
        Ok((name, TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| Error::content(path, e))?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let metadata = Some(metadata).filter(|metadata| !metadata.is_empty());
    serialize(views, &metadata).map_err(|e| Error::content(path, e))
}

/// Writes tensors of kind Float or Int64 to a safetensors file, under a temporary name first.
///
/// # Errors
/// Returns an error if libtorch fails, a number is not finite, or the file cannot be written; an existing file is kept
/// then.
pub fn write(path: &Path, tensors: &[(String, Tensor)], metadata: HashMap<String, String>) -> Result<()> {
    let bytes = bytes(path, tensors, metadata)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = Path::new(&temporary);
    let written = File::create(temporary).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(temporary, path)
    });
    written.map_err(|error| {
        // It may not have been created.
        let _ = fs::remove_file(temporary);
        Error::file(path)(error)
    })?;
    Ok(())
}

/// Reads a file of [`write()`]: the tensors, on the CPU, and the metadata.
///
/// # Errors
/// Returns an error if the file cannot be read, is not a safetensors file, or holds tensors of other kinds.
pub fn read(path: &Path) -> Result<(Tensors, HashMap<String, String>)> {
    let bytes = fs::read(path).map_err(Error::file(path))?;
    let wrong = |what: String| Error::content(path, what);
    let none = |error| wrong(format!("not a safetensors file: {error}"));
    let file = SafeTensors::deserialize(&bytes).map_err(none)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(none)?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let size: Vec<_> = view.shape().iter().map(|n| *n as i64).collect();
        let data = view.data();
        let tensor = match view.dtype() {
            Dtype::F32 => Tensor::from_slice(&numbers(data, f32::from_le_bytes)),
            Dtype::I64 => Tensor::from_slice(&numbers(data, i64::from_le_bytes)),
            other => return Err(wrong(format!("tensor {name} has the unsupported kind {other:?}"))),
        };
        tensors.push((name, tensor.f_view(&size[..])?));
    }
    Ok((tensors, metadata.metadata().clone().unwrap_or_default()))
}

fn little_endian<T: Copy, const N: usize>(numbers: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    numbers.iter().flat_map(|number| bytes(*number)).collect()
}

fn numbers<T, const N: usize>(bytes: &[u8], number: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| number(*bytes)).collect()
}
