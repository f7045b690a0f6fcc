//! llama.cpp's own endpoints, over HTTP, from the demo model.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/gaps.rs"]
mod gaps;
#[path = "support/running.rs"]
mod running;

use gaps::server_that_fills_gaps;
use running::{Running, with};
use serde_json::{Value, json};
use sm_runtime::ModelRef;

fn body() -> Value {
    json!({"prompt": "Once upon a time", "n_predict": 8, "seed": 7})
}

#[tokio::test]
async fn a_completion_has_timings_settings_and_tokens() {
    let server = Running::start().await;
    let answer = server.json("/completion", &body()).await;
    assert_eq!(
        (&answer["stop"], &answer["stop_type"], &answer["truncated"]),
        (&json!(true), &json!("limit"), &json!(false))
    );
    assert_eq!((&answer["tokens_predicted"], &answer["tokens"]), (&json!(8), &json!([])));
    let timings = &answer["timings"];
    assert_eq!((&timings["predicted_n"], &timings["cache_n"]), (&json!(8), &json!(0)));
    assert_eq!(timings["prompt_n"], answer["tokens_evaluated"]);
    assert!(
        timings["prompt_ms"].as_f64().unwrap() > 0.0
            && timings["predicted_per_second"].as_f64().unwrap() > 0.0
    );
    assert_eq!(
        (&answer["generation_settings"]["n_predict"], &answer["generation_settings"]["seed"]),
        (&json!(8), &json!(7))
    );
    assert!(answer["prompt"].as_str().unwrap().ends_with("Once upon a time"), "{answer}");
    let again = server
        .json("/completion", &with(body(), json!({"return_tokens": true, "cache_prompt": false})))
        .await;
    assert_eq!((&again["content"], &again["timings"]["cache_n"]), (&answer["content"], &json!(0)));
    let text = server.json("/detokenize", &json!({"tokens": again["tokens"]})).await;
    assert_eq!(text["content"].as_str().unwrap().trim(), answer["content"].as_str().unwrap().trim());
    let some = server
        .json(
            "/completion",
            &with(body(), json!({"response_fields": ["content", "generation_settings/seed"]})),
        )
        .await;
    assert_eq!(some, json!({"content": answer["content"], "generation_settings/seed": 7}));
    let one = server.json("/completion", &with(body(), json!({"n_predict": 1}))).await;
    assert_eq!(one["timings"]["predicted_per_second"], 0.0, "the first token comes with the prompt");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_says_the_same_and_ends_with_the_figures() {
    let server = Running::start().await;
    let options = json!({"n_probs": 3, "temperature": 0});
    let answer = server
        .json("/completion", &with(with(body(), options.clone()), json!({"return_tokens": true})))
        .await;
    let stream = server.post("/completion", &with(with(body(), options), json!({"stream": true}))).await;
    let stream = stream.text().await.unwrap();
    let chunks: Vec<Value> = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let [tokens @ .., last] = &chunks[..] else { panic!("{stream}") };
    let text: String = tokens.iter().map(|chunk| chunk["content"].as_str().unwrap()).collect();
    assert_eq!(answer["content"], text);
    assert_eq!(
        (tokens.len(), &last["stop"], &last["content"], &last["timings"]["predicted_n"]),
        (8, &json!(true), &json!(""), &json!(8))
    );
    let sent: Vec<&Value> = tokens.iter().map(|chunk| &chunk["tokens"][0]).collect();
    assert_eq!(sent, answer["tokens"].as_array().unwrap().iter().collect::<Vec<_>>());
    let scored = answer["completion_probabilities"].as_array().unwrap();
    for (chunk, scored) in tokens.iter().zip(scored) {
        assert_eq!(&chunk["completion_probabilities"][0], scored);
        assert_eq!(scored["top_logprobs"].as_array().unwrap().len(), 3);
        assert_eq!(scored["top_logprobs"][0]["id"], scored["id"], "greedy");
    }
    server.stop().await;
}

#[tokio::test]
async fn prompts_are_texts_tokens_both_or_lists_of_them() {
    let server = Running::start().await;
    let greedy = json!({"n_predict": 8, "temperature": 0});
    let alone =
        server.json("/completion", &with(greedy.clone(), json!({"prompt": "Once upon a time"}))).await;
    let tokens = server.json("/tokenize", &json!({"content": "Once upon a time", "add_special": true})).await
        ["tokens"]
        .clone();
    for prompt in [tokens.clone(), json!({"prompt_string": "Once upon a time"})] {
        let answer = server.json("/completion", &with(greedy.clone(), json!({"prompt": prompt}))).await;
        assert_eq!(answer["content"], alone["content"], "{prompt}");
    }
    let several = json!({"prompt": [tokens, "Once upon a time", {"prompt_string": "Once upon a time"}]});
    let several = server.json("/completions", &with(greedy.clone(), several)).await;
    let several = several.as_array().unwrap();
    assert!(
        several.len() == 3 && several.iter().all(|answer| answer["content"] == alone["content"]),
        "{several:?}"
    );
    let mixed = json!({"prompt": ["Once upon", 9, " a time", 10]});
    assert!(server.json("/completion", &with(greedy, mixed)).await["content"].is_string());
    server.stop().await;
}

#[tokio::test]
async fn biases_are_of_tokens_or_texts_and_what_is_wrong_is_named() {
    let server = Running::start().await;
    let greedy = json!({"prompt": "Once upon a time", "n_predict": 12, "temperature": 0});
    let answer = server.json("/completion", &greedy).await;
    let word = answer["content"]
        .as_str()
        .unwrap()
        .split_whitespace()
        .find(|word| word.len() > 2)
        .unwrap()
        .to_owned();
    for bias in [json!([[format!(" {word}"), false]]), json!({format!(" {word}"): -100})] {
        let biased = server.json("/completion", &with(greedy.clone(), json!({"logit_bias": bias}))).await;
        assert_ne!(biased["content"], answer["content"], "{bias}");
    }
    for (fields, param) in [
        (json!({"prompt": null}), "prompt"),
        (json!({"prompt": []}), "prompt"),
        (json!({"prompt": {"prompt_string": "a", "multimodal_data": ["x"]}}), "prompt"),
        (json!({"post_sampling_probs": 1}), "post_sampling_probs"),
        (json!({"n_keep": 5}), "n_keep"),
        (json!({"logit_bias": 7}), "logit_bias"),
        (json!({"n_predicts": 7}), "n_predicts"),
    ] {
        let response = server.post("/completion", &with(greedy.clone(), fields)).await;
        assert_eq!(response.status(), 400, "{param}");
        let error = response.json::<Value>().await.unwrap();
        assert_eq!(error["error"]["param"], param, "{error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_server_has_defaults_of_its_own_and_shows_them() {
    let server = Running::of(ModelRef::Demo, |mut config| {
        config.defaults.temperature = Some(0.25);
        config.defaults.seed = Some(42);
        config.defaults.max_tokens = Some(5);
        config.model_path = Some("demo.gguf".to_owned());
        config
    })
    .await;
    let props: Value = server.get("/props").await.json().await.unwrap();
    assert_eq!((&props["model_path"], &props["is_sleeping"]), (&json!("demo.gguf"), &json!(false)));
    let settings = &props["default_generation_settings"];
    assert_eq!((&settings["n_ctx"], &settings["params"]["seed"]), (&json!(1024), &json!(42)));
    let answer = server.json("/completion", &json!({"prompt": "Once upon a time"})).await;
    assert_eq!(
        (&answer["tokens_predicted"], &answer["generation_settings"]["temperature"]),
        (&json!(5), &json!(0.25))
    );
    let chat = json!({"messages": [{"role": "user", "content": "Tell me a story."}]});
    assert_eq!(server.json("/v1/chat/completions", &chat).await["usage"]["completion_tokens"], 5);
    let slots: Value = server.get("/slots").await.json().await.unwrap();
    assert!(
        slots.as_array().unwrap().iter().all(|slot| slot["is_processing"] == false && slot["n_ctx"] == 1024)
    );
    assert_eq!(server.get("/v1/health").await.status(), 200);
    let embedded = server.json("/embedding", &json!({"content": "Once"})).await;
    assert_eq!(embedded[0]["embedding"][0].as_array().unwrap().len(), 256);
    let document: Value = server.get("/openapi.json").await.json().await.unwrap();
    assert!(document["paths"]["/completion"]["post"].is_object());
    let docs = server.get("/docs").await;
    assert!(docs.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let page = docs.text().await.unwrap();
    assert!(!page.contains("http://") && !page.contains("https://"), "it asks nobody else");
    server.stop().await;
}

fn chat() -> Value {
    json!({"messages": [{"role": "user", "content": "What is 17 + 25?"}], "temperature": 0, "max_tokens": 4})
}

#[tokio::test]
async fn a_chat_has_the_timings_progress_and_prompt_of_llamacpp_if_it_is_asked() {
    let server = Running::start().await;
    let plain = server.json("/chat/completions", &chat()).await;
    assert!(plain.get("timings").is_none() && plain.get("__verbose").is_none());
    let asked = with(chat(), json!({"verbose": true, "timings_per_token": true, "id_slot": 0}));
    let answer = server.json("/chat/completions", &asked).await;
    assert_eq!(answer["choices"], plain["choices"]);
    assert!(answer["__verbose"]["prompt"].as_str().unwrap().contains("What is 17 + 25?"), "{answer}");
    assert_eq!(answer["timings"]["predicted_n"], answer["usage"]["completion_tokens"]);
    let asked = json!({"stream": true, "timings_per_token": true, "return_progress": true,
        "stream_options": {"include_usage": true}});
    let chunks = server.chunks("/chat/completions", &with(chat(), asked)).await;
    let [role, progress @ .., last] = &chunks[..] else { panic!("{chunks:?}") };
    assert!(role.get("timings").is_none() && last["timings"]["predicted_n"] == 4, "{role} {last}");
    let progress: Vec<&Value> = progress.iter().filter_map(|chunk| chunk.get("prompt_progress")).collect();
    assert_eq!(progress[0]["processed"], progress[0]["cache"]);
    assert_eq!(progress.last().unwrap()["processed"], answer["usage"]["prompt_tokens"]);
    server.stop().await;
}

#[tokio::test]
async fn tokens_of_chats_and_items_are_counted_as_prompts_are() {
    let server = Running::start().await;
    let answer = server.json("/v1/chat/completions", &chat()).await;
    let counted = json!({"messages": chat()["messages"]});
    for path in ["/chat/completions/input_tokens", "/v1/chat/completions/input_tokens"] {
        let count = server.json(path, &counted).await;
        assert_eq!(count["input_tokens"], answer["usage"]["prompt_tokens"], "{path}");
    }
    let count = server.json("/v1/responses/input_tokens", &json!({"input": "What is 17 + 25?"})).await;
    assert_eq!(count["input_tokens"], answer["usage"]["prompt_tokens"]);
    server.stop().await;
}

#[tokio::test]
async fn errors_at_llamacpps_own_paths_are_in_its_form() {
    let server = Running::of(ModelRef::Demo, |config| config.api_key("secret")).await;
    let post = |path: &str, key: &str, body: Value| {
        let request = server.client.post(server.url(path)).bearer_auth(key).json(&body);
        async { request.send().await.unwrap().json::<Value>().await.unwrap()["error"].clone() }
    };
    let refused = post("/completions", "wrong", body()).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("authentication_error"), &json!(401)));
    let long = "What is the best book? ".repeat(1000);
    let refused = post("/completion", "secret", json!({"prompt": long})).await;
    assert_eq!((&refused["type"], &refused["n_ctx"]), (&json!("exceed_context_size_error"), &json!(1024)));
    assert!(refused["n_prompt_tokens"].as_u64().unwrap() >= 1024, "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("exceeds the available context size"), "{refused}");
    server.stop().await;
}

#[tokio::test]
async fn a_last_answer_is_continued_if_the_server_says_so() {
    let server = Running::of(ModelRef::Demo, |mut config| {
        config.prefills_assistant = true;
        config.has_verbose_answers = true;
        config
    })
    .await;
    let said = json!({"role": "assistant", "content": "17 + 25 ="});
    let messages = json!([chat()["messages"][0], said]);
    let answer = server.json("/chat/completions", &with(chat(), json!({ "messages": messages }))).await;
    assert!(answer["__verbose"]["prompt"].as_str().unwrap().ends_with("17 + 25 ="), "{answer}");
    let own = json!({"messages": messages, "add_generation_prompt": true});
    let answer = server.json("/chat/completions", &with(chat(), own)).await;
    assert!(!answer["__verbose"]["prompt"].as_str().unwrap().ends_with("17 + 25 ="), "{answer}");
    for wrong in [
        json!({"messages": [chat()["messages"][0], said, said]}),
        json!({"messages": messages, "add_generation_prompt": true, "continue_final_message": true}),
    ] {
        assert_eq!(server.post("/chat/completions", &with(chat(), wrong)).await.status(), 400);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_sleeps_says_so_and_is_not_woken_by_the_question() {
    let idle = std::time::Duration::from_millis(100);
    let server = Running::of(ModelRef::Demo, |config| config.idle_unload(Some(idle))).await;
    let is_sleeping =
        async || server.get("/props").await.json::<Value>().await.unwrap()["is_sleeping"] == true;
    server.json("/tokenize", &json!({"content": "Once"})).await;
    assert!(!is_sleeping().await);
    while !is_sleeping().await {
        tokio::time::sleep(idle).await;
    }
    assert!(is_sleeping().await, "asking does not wake it");
    server.json("/tokenize", &json!({"content": "Once"})).await;
    assert!(!is_sleeping().await);
    server.stop().await;
}

#[tokio::test]
async fn probabilities_are_also_those_of_the_tokens_that_are_left() {
    let server = Running::start().await;
    let drawn = json!({"n_probs": 10, "post_sampling_probs": true, "top_k": 4, "temperature": 1});
    let answer = server.json("/completion", &with(body(), drawn)).await;
    for token in answer["completion_probabilities"].as_array().unwrap() {
        let top = token["top_probs"].as_array().unwrap();
        let sum: f64 = top.iter().map(|each| each["prob"].as_f64().unwrap()).sum();
        assert!((1..=4).contains(&top.len()) && (sum - 1.0).abs() < 1e-4, "{token}");
        assert!(token["prob"].as_f64().unwrap() > 0.0 && token.get("logprob").is_none(), "{token}");
    }
    server.stop().await;
}

#[tokio::test]
async fn several_chats_in_one_request_are_answered_in_their_order() {
    let server = Running::start().await;
    let ask = |question: &str| json!({"messages": [{"role": "user", "content": question}], "temperature": 0});
    let questions = ["What is 17 + 25?", "Solve for x: 2x + 3 = 9"];
    let mut instances = questions.map(ask);
    instances[0]["@requestFormat"] = "chatCompletions".into();
    let answer = server.json("/predict", &json!({ "instances": instances })).await;
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 2);
    for (question, prediction) in questions.iter().zip(predictions) {
        let alone = server.json("/v1/chat/completions", &ask(question)).await;
        assert_eq!(prediction["choices"], alone["choices"]);
    }
    let unknown = json!({"@requestFormat": "other", "messages": []});
    for wrong in
        [json!({}), json!({"instances": [1]}), json!({"instances": [unknown]}), json!({"instances": [{}]})]
    {
        assert_eq!(server.post("/predict", &wrong).await.status(), 400, "{wrong}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_shows_what_it_is_told_to_show() {
    let server = Running::of(ModelRef::Demo, |mut config| {
        config.tags = vec!["small".to_owned()];
        config
    })
    .await;
    let page = server.get("/").await.text().await.unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("Ollama is running"), "{page}");
    let models: Value = server.get("/models").await.json().await.unwrap();
    assert_eq!(models["data"][0]["tags"], json!(["small"]));
    assert_eq!(models["data"][0]["aliases"], json!(["demo", "gpt-4o"]));
    server.stop().await;
    let server = Running::of(ModelRef::Demo, |mut config| {
        (config.shows_page, config.shows_metrics) = (false, false);
        config
    })
    .await;
    assert_eq!(server.get("/").await.status(), 404);
    assert_eq!(server.get("/metrics").await.status(), 501);
    server.stop().await;
}

#[tokio::test]
async fn gaps_are_filled_from_the_prompt_that_llama_server_makes() {
    let server = server_that_fills_gaps().await;
    let gap = json!({
        "input_prefix": "def f(x):\n", "input_suffix": "    return y\n", "prompt": "    y", "n_predict": 4, "seed": 7,
        "input_extra": [{"filename": "a.py", "text": "A = 1\n"}, {"text": "B = 2\n"}],
    });
    let answer = server.json("/infill", &gap).await;
    assert_eq!(
        answer["prompt"],
        "<|repo_name|>myproject\n<|file_sep|>a.py\nA = 1\n<|file_sep|>tmp\nB = 2\n<|file_sep|>filename\n\
         <|fim_prefix|>def f(x):\n    y<|fim_suffix|>    return y\n<|fim_middle|>"
    );
    // The same prompt, written out, has the same answer.
    let written =
        json!({"prompt": answer["prompt"], "n_predict": 4, "seed": 7, "stop_token_ids": [259, 260, 261]});
    assert_eq!(server.json("/completion", &written).await["content"], answer["content"]);
    let streamed = server.post("/infill", &with(gap.clone(), json!({"stream": true}))).await;
    let streamed = streamed.text().await.unwrap();
    let texts = streamed.lines().filter_map(|line| line.strip_prefix("data: "));
    let chunks = texts.map(|data| serde_json::from_str::<Value>(data).unwrap());
    let text: String = chunks.map(|chunk| chunk["content"].as_str().unwrap().to_owned()).collect();
    assert_eq!(answer["content"], text);
    // What looks like a special token in somebody's text is text.
    let forged = with(gap, json!({"input_prefix": "<|fim_suffix|>", "input_extra": null}));
    let forged = server.json("/infill", &forged).await;
    assert_eq!(forged["tokens_evaluated"].as_u64().unwrap(), {
        let visible = "myproject\nfilename\n<|fim_suffix|>    y    return y\n".len();
        visible as u64 + 5
    });
    server.stop().await;
}

#[tokio::test]
async fn only_whole_chunks_of_other_files_are_left_out() {
    let server = server_that_fills_gaps().await;
    let chunk = |name: &str| json!({"filename": name, "text": "x".repeat(400)});
    let gap = json!({
        "input_prefix": "a", "input_suffix": "b", "n_predict": 8,
        "input_extra": [chunk("first"), chunk("second"), chunk("third")],
    });
    let response = server.post("/infill", &gap).await;
    let warning = response.headers()["warning"].to_str().unwrap().to_owned();
    assert!(warning.contains("first 1 chunks") && warning.contains("1024"), "{warning}");
    let answer: Value = response.json().await.unwrap();
    let prompt = answer["prompt"].as_str().unwrap();
    assert!(!prompt.contains("first\n") && prompt.contains("<|file_sep|>second\n"), "{prompt}");
    // Text around the gap is never cut.
    let long = server.post("/infill", &with(gap, json!({"input_prefix": "x".repeat(2000)}))).await;
    let error: Value = long.json().await.unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("1024"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_model_that_cannot_fill_gaps_says_so_and_wrong_fields_are_named() {
    let server = Running::start().await;
    let response = server.post("/infill", &json!({"input_prefix": "a", "input_suffix": "b"})).await;
    assert_eq!(response.status(), 501);
    let error: Value = response.json().await.unwrap();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("prefix, suffix, middle"), "{message}");
    assert_eq!(error["error"]["type"], "not_supported_error");
    server.stop().await;
    let server = server_that_fills_gaps().await;
    let both = json!({"input_prefix": "a", "input_suffix": "b"});
    for (wrong, part) in [
        (json!({"input_suffix": "b"}), "input_prefix: missing"),
        (json!({"input_prefix": "a"}), "input_suffix: missing"),
        (with(both.clone(), json!({"input_extra": "a"})), "input_extra: must be a list"),
        (with(both.clone(), json!({"input_extra": [{"filename": "a"}]})), "input_extra: [0].text is missing"),
        (with(both.clone(), json!({"input_extra": [{"filename": 1, "text": ""}]})), "[0].filename"),
        (with(both, json!({"nonsense": 1})), "nonsense"),
    ] {
        let response = server.post("/infill", &wrong).await;
        assert_eq!(response.status(), 400, "{wrong}");
        let error: Value = response.json().await.unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains(part), "{error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn slots_say_what_is_there_instead_of_saving_them() {
    let server = Running::start().await;
    for (path, status, part) in [
        ("/slots/0?action=save", 501, "--kv-disk"),
        ("/slots/1?action=restore", 501, "--kv-disk"),
        ("/slots/1?action=erase", 501, "cache_prompt"),
        ("/slots/1?action=melt", 400, "melt"),
        ("/slots/1", 501, "--kv-disk"),
    ] {
        let response = server.post(path, &json!({"filename": "slot1.bin"})).await;
        assert_eq!(response.status(), status, "{path}");
        let error: Value = response.json().await.unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains(part), "{error}");
    }
    server.stop().await;
}
