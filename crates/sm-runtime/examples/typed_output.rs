//! Output as a value of a Rust type, enforced during generation.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use schemars::JsonSchema;
use serde::Deserialize;
use sm_runtime::{Engine, GenerationOptions, ModelRef};

/// A person of a story.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Person {
    kind: Kind,
    #[schemars(range(min = 1, max = 99))]
    age: u32,
    is_brave: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
enum Kind {
    Girl,
    Boy,
    Dragon,
}

fn main() -> Result<(), sm_runtime::Error> {
    let engine = Engine::builder().load(ModelRef::Demo)?;
    let options = GenerationOptions::new().seed(1).max_new_tokens(80);
    let person: Person = engine.generate_typed("A hero:".into(), &options)?;
    println!("{:?}, {} years, brave: {}", person.kind, person.age, person.is_brave);
    Ok(())
}
