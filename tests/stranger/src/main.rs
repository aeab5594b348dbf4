//! Learns which of two numbers is larger, in groups of its own, saves the optimizer and goes on from the file.

use graftage_optim::tch::{Device, Kind, Tensor, nn, nn::Module};
use graftage_optim::tensor::Arithmetic;
use graftage_optim::{Group, Groups, Momentum, Norm, RULE, Result, Rule, Schedule, TransportedScion, named};

fn main() -> Result<()> {
    graftage_optim::tch::manual_seed(1);
    let store = nn::VarStore::new(Device::Cpu);
    let model = nn::seq()
        .add(nn::linear(store.root() / "hidden", 2, 16, Default::default()))
        .add_fn(Tensor::relu)
        .add(nn::linear(store.root() / "head", 16, 2, Default::default()));
    let inputs = Tensor::rand([256, 2], (Kind::Float, Device::Cpu));
    let classes = inputs.select(1, 0).gt_tensor(&inputs.select(1, 1)).to_kind(Kind::Int64);
    let loss = || model.forward(&inputs).cross_entropy_for_logits(&classes);

    let schedule = Schedule::Linear { steps: 200 };
    let rule = Rule { step_size: 0.05, momentum: Momentum::Constant(0.9), schedule, ..RULE };
    let groups = Groups::overriding([Group { norm: Some(Norm::Sign), ..Group::new("head.weight") }]);
    let mut optimizer = TransportedScion::with_groups(named(&store), rule, Arithmetic::Fast, &groups)?;
    let path = std::env::temp_dir().join(format!("stranger-{}.safetensors", std::process::id()));
    for step in 0..200 {
        if step == 100 {
            optimizer.save(&path)?;
            optimizer.load(&path)?;
        }
        optimizer.backward_step(&loss())?;
    }
    let _ = std::fs::remove_file(&path);
    let accuracy = f64::try_from(optimizer.evaluate(|| model.forward(&inputs).accuracy_for_logits(&classes))?)?;
    println!("{accuracy:.3}");
    assert!(accuracy > 0.95, "it has not learnt");
    Ok(())
}
