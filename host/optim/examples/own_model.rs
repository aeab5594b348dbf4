//! Transported Scion on one's own tch model.

use graftage_optim::cuda;
use graftage_optim::tensor::Arithmetic;
use graftage_optim::{RULE, TransportedScion};
use tch::nn::{self, Module};
use tch::{Device, Kind, Tensor};

fn main() -> graftage_optim::Result<()> {
    tch::manual_seed(1);
    let store = nn::VarStore::new(cuda::device().unwrap_or(Device::Cpu));
    let model = nn::seq()
        .add(nn::linear(store.root() / "hidden", 2, 32, Default::default()))
        .add_fn(Tensor::relu)
        .add(nn::linear(store.root() / "head", 32, 2, Default::default()));

    // Points of a square. The class says whether the two coordinates have the same sign.
    let points = Tensor::rand([512, 2], (Kind::Float, store.device())) * 2 - 1;
    let classes = points.prod_dim_int(1, false, Kind::Float).gt(0.0).to_kind(Kind::Int64);
    let loss = || model.forward(&points).cross_entropy_for_logits(&classes);

    let mut optimizer = TransportedScion::new(&store, RULE, Arithmetic::Fast)?;
    for step in 0..=200 {
        if step % 40 == 0 {
            // The model holds Y, where gradients are taken; the loss that counts is that of X.
            println!("step {step:3}: loss {:.4}", f64::try_from(optimizer.evaluate(loss)?)?);
        }
        optimizer.rule.step_size = 0.02 * (1.0 - step as f32 / 201.0);
        optimizer.backward_step(&loss())?;
    }
    Ok(())
}
