//! One step size for several rehearsals: for each method, the one with the best mean accuracy over the files, with the
//! accuracy in each file.
//! `cargo run --release --package graftage --example one_setting -- FILE...`

use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let read = |path: String| -> Result<Value, Box<dyn Error>> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    let rehearsals = std::env::args().skip(1).map(read).collect::<Result<Vec<_>, _>>()?;
    // Method to step size to the accuracy in each rehearsal.
    let mut grids: BTreeMap<String, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    for method in rehearsals.iter().flat_map(|rehearsal| rehearsal["methods"].as_array()).flatten() {
        let grid = grids.entry(method["name"].as_str().ok_or("a method without a name")?.into()).or_default();
        for row in method["grid"].as_array().ok_or("a method without a grid")? {
            // A mean over aged sensors, or a mean with a deviation over groups.
            let accuracy = row[1].as_f64().or(row[1]["mean"].as_f64()).ok_or("a row without an accuracy")?;
            grid.entry(row[0].to_string()).or_default().push(accuracy);
        }
    }
    let mean = |accuracies: &[f64]| accuracies.iter().sum::<f64>() / accuracies.len() as f64;
    for (name, grid) in grids {
        let whole = grid.iter().filter(|(_, accuracies)| accuracies.len() == rehearsals.len());
        let best = whole.max_by(|a, b| mean(a.1).total_cmp(&mean(b.1)));
        let (step, accuracies) = best.ok_or("no step size that all rehearsals tried")?;
        let each: Vec<_> = accuracies.iter().map(|accuracy| format!("{accuracy:.3}")).collect();
        println!("{name:<32} {step:>24}  {}  mean {:.3}", each.join("  "), mean(accuracies));
    }
    Ok(())
}
