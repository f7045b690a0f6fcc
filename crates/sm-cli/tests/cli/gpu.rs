//! `--device gpu`: the demo model says on a GPU, or software that stands in for one, what it says on the CPU.

use crate::run::sm;
use crate::testing;

/// Whether there is a GPU, as `sm doctor` says.
fn gpu() -> Option<()> {
    let gpus = sm(&["doctor", "--json"]).json()["gpu"].as_str().unwrap().to_owned();
    if gpus != "none found" {
        return Some(());
    }
    assert!(std::env::var_os("GPU_TESTS").is_none_or(|value| value != "require"), "no GPU was found");
    testing::skip(&"no GPU was found")
}

#[test]
fn a_gpu_that_computes_right_passes_its_test() {
    let Some(()) = gpu() else { return };
    let report = sm(&["doctor", "--gpu-test", "--json"]).json();
    let found = report["gpu_test"].as_array().unwrap();
    assert!(!found.is_empty());
    let capabilities = report["gpu_capabilities"].as_array().unwrap();
    assert_eq!(capabilities.len(), found.len());
    for capabilities in capabilities {
        assert!(capabilities.as_str().unwrap().contains("buffers of"), "{report}");
    }
    for found in found {
        assert!(found.as_str().unwrap().ends_with("values of all kernels are right"), "{report}");
    }
    // Later runs know it.
    let later = sm(&["doctor", "--json"]).json();
    let known = later["gpu_test"].as_array().unwrap();
    assert_eq!(known.len(), found.len());
    for found in known {
        assert!(found.as_str().unwrap().ends_with("values of all kernels were right"), "{later}");
    }
}

#[test]
fn the_demo_model_answers_on_a_gpu() {
    let Some(()) = gpu() else { return };
    for (question, answer) in [
        ("Solve for x: 2x + 3 = 9", "Answer: 3"),
        ("What is 347 + 285?", "632"),
        ("What is the capital of France?", "Paris"),
    ] {
        let ask = |device| sm(&["generate", "--chat", "--temp", "0", question, "--device", device]).success();
        let text = ask("gpu");
        assert!(text.contains(answer), "{question}: {text}");
        assert_eq!(text, ask("cpu"));
    }
}

#[test]
fn speculation_and_batches_change_no_text_on_a_gpu() {
    let Some(()) = gpu() else { return };
    let question = ["generate", "--chat", "What is 347 + 285?", "--seed", "5", "--device", "gpu", "--json"];
    let plain = sm(&question).json();
    let drafted = sm(&[&question[..], &["--draft", "demo-draft", "--lookup"]].concat()).json();
    assert_eq!((&drafted["text"], &drafted["tokens"]), (&plain["text"], &plain["tokens"]));
    assert!(drafted["accepted_tokens"].as_u64().unwrap() > 0, "{drafted}");
}

#[test]
fn every_number_of_layers_on_a_gpu_gives_the_answer() {
    let Some(()) = gpu() else { return };
    let n_layers = sm(&["inspect", "demo", "--json"]).json()["layers"].as_u64().unwrap();
    let ask = |layers: &str| {
        let question = ["generate", "--chat", "--temp", "0", "What is 347 + 285?", "-t", "2"];
        sm(&[&question[..], &["--gpu-layers", layers]].concat()).success()
    };
    for n_gpu_layers in 0..=n_layers + 1 {
        assert!(ask(&n_gpu_layers.to_string()).contains("632"), "{n_gpu_layers} of {n_layers} layers");
    }
    assert!(ask("all").contains("632"));
}

#[test]
fn layers_on_a_gpu_contradict_another_device() {
    let message = sm(&["generate", "--device", "cpu", "--gpu-layers", "2", "x"]).error(2);
    assert!(message.contains("--gpu-layers 2 contradicts --device cpu"), "{message}");
    let message = sm(&["generate", "-ngl", "many", "x"]).error(2);
    assert!(message.contains("\"many\" is not a number of layers"), "{message}");
}
