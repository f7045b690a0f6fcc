//! What clients of OpenAI's API get, over HTTP, from the demo model.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/running.rs"]
mod running;

use std::time::Duration;

use running::{Running, with};
use serde_json::{Value, json};
use sm_runtime::ModelRef;

fn question(n_tokens: usize) -> Value {
    json!({
        "model": "demo",
        "messages": [{"role": "user", "content": "Solve for x: 2x + 3 = 9"}],
        "temperature": 0,
        "max_tokens": n_tokens,
    })
}

#[tokio::test]
async fn a_chat_is_answered_at_once_and_as_a_stream_of_the_same_text() {
    let server = Running::start().await;
    let answer = server.json("/v1/chat/completions", &question(200)).await;
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("Answer: 3"), "{answer}");
    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("demo")));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let usage = &answer["usage"];
    let [n_prompt, n_answer] =
        ["prompt_tokens", "completion_tokens"].map(|name| usage[name].as_u64().unwrap());
    assert_eq!(usage["total_tokens"], n_prompt + n_answer);

    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let chunks = server.chunks("/v1/chat/completions", &with(question(200), options)).await;
    let delta =
        |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks.iter().map(delta).collect::<String>(), text);
    let [.., end, last] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(end["choices"][0]["finish_reason"], "stop");
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(n_answer)));
    let ids: Vec<&Value> = chunks.iter().map(|chunk| &chunk["id"]).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
    server.stop().await;
}

#[tokio::test]
async fn a_text_is_continued_with_choices_and_log_probabilities() {
    let server = Running::start().await;
    let body = json!({"prompt": "Once upon a time", "seed": 7, "n": 2, "max_tokens": 8, "logprobs": 2});
    let answer = server.json("/v1/completions", &body).await;
    assert_eq!(answer["object"], "text_completion");
    for index in 0..2 {
        let choice = &answer["choices"][index];
        assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(index), &json!("length")));
        let logprobs = &choice["logprobs"];
        for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(logprobs[list].as_array().unwrap().len(), 8, "{list} of {choice}");
        }
    }
    assert_ne!(answer["choices"][0]["text"], answer["choices"][1]["text"]);
    let again = server.json("/v1/completions", &body).await;
    assert_eq!(again["choices"], answer["choices"], "the seed repeats it");
    let chunks = server.chunks("/v1/completions", &with(body, json!({"stream": true}))).await;
    for index in 0..2 {
        let own = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
        let own: Vec<&Value> = own.filter(|choice| choice["index"] == index).collect();
        let text: String = own.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
        assert_eq!(answer["choices"][index]["text"], text);
        let logprobs = own.iter().filter_map(|choice| choice["logprobs"]["token_logprobs"].as_array());
        let logprobs: Vec<&Value> = logprobs.flatten().collect();
        let expected: Vec<&Value> =
            answer["choices"][index]["logprobs"]["token_logprobs"].as_array().unwrap().iter().collect();
        assert_eq!(logprobs, expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn structured_output_is_what_was_asked_for() {
    let server = Running::start().await;
    let schema = json!({
        "type": "object",
        "properties": {"x": {"type": "integer"}},
        "required": ["x"],
        "additionalProperties": false,
    });
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": true}});
    let body = with(question(100), json!({"response_format": format}));
    let answer = server.json("/v1/chat/completions", &body).await;
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value["x"].is_i64(), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn errors_name_the_field_in_the_envelope_that_clients_know() {
    let server = Running::start().await;
    let chat = "/v1/chat/completions";
    for (path, body, status, param, part) in [
        (chat, json!({}), 400, json!("messages"), "missing"),
        (chat, json!([1]), 400, Value::Null, "must be a JSON object"),
        (
            chat,
            with(question(1), json!({"temperature": "hot"})),
            400,
            json!("temperature"),
            "must be a number",
        ),
        (chat, with(question(1), json!({"temperature": -1})), 400, json!("temperature"), "-1"),
        (chat, with(question(1), json!({"tempratur": 1})), 400, json!("tempratur"), "unknown field"),
        (chat, with(question(1), json!({"model": "gpt-9"})), 404, json!("model"), "does not exist"),
        (chat, with(question(1), json!({"n": 0})), 400, json!("n"), "1 or more"),
        (chat, with(question(1), json!({"tools": [{}]})), 400, json!("tools"), "[0].type must be"),
        (
            chat,
            with(question(1), json!({"max_completion_tokens": 4})),
            400,
            json!("max_completion_tokens"),
            "n_tokens is given twice",
        ),
        (
            chat,
            with(question(1), json!({"logprobs": true, "top_logprobs": 21})),
            400,
            json!("logprobs"),
            "21 likely tokens at each position are more than this server's 20",
        ),
        ("/completion", json!({"prompt": "a", "n_probs": 9999}), 400, json!("logprobs"), "--max-logprobs"),
        (
            "/v1/completions",
            json!({"prompt": "a", "prompt_logprobs": 99}),
            400,
            json!("prompt_logprobs"),
            "--max-logprobs",
        ),
        ("/v1/completions", json!({"prompt": ["a", 1.5]}), 400, json!("prompt"), "must be a text"),
        ("/v1/completions", json!({"prompt": "word ".repeat(3000)}), 400, Value::Null, "context"),
        ("/v1/completion", json!({}), 404, Value::Null, "there is no POST"),
    ] {
        let response = server.post(path, &body).await;
        assert_eq!(response.status(), status, "{body}");
        let error = &response.json::<Value>().await.unwrap()["error"];
        assert_eq!(error["type"], "invalid_request_error", "{error}");
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
    let hints = json!({"user": "me", "metadata": {"a": "b"}, "store": false, "seed": null, "stop": null});
    let answer = server.json(chat, &with(question(3), hints)).await;
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    let huge = server.json(chat, &with(question(1), json!({"max_tokens": 32_000, "stop": ["\n"]}))).await;
    assert_eq!(huge["choices"][0]["finish_reason"], "stop", "more than the context has is no error");
    server.stop().await;
}

#[tokio::test]
async fn several_prompts_have_the_choices_that_each_has_alone() {
    let server = Running::start().await;
    let fields = json!({"temperature": 0.8, "seed": 7, "n": 2, "max_tokens": 6, "logprobs": 1});
    let prompts = json!(["Once upon a time", "In a distant", [5, 6, 7], "One golden morning"]);
    // Lists of token ids too; a list of both is read one by one.
    let body = with(fields.clone(), json!({ "prompt": prompts }));
    let answer = server.json("/v1/completions", &body).await;
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 8);
    let mut n_prompt = 0;
    for (at, prompt) in prompts.as_array().unwrap().iter().enumerate() {
        let alone = server.json("/v1/completions", &with(fields.clone(), json!({ "prompt": prompt }))).await;
        n_prompt += alone["usage"]["prompt_tokens"].as_u64().unwrap();
        for choice in 0..2 {
            let mut expected = alone["choices"][choice].clone();
            expected["index"] = json!(2 * at + choice);
            assert_eq!(choices[2 * at + choice], expected);
        }
    }
    assert_eq!(
        (&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]),
        (&json!(n_prompt), &json!(48))
    );

    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let chunks = server.chunks("/v1/completions", &with(body, options)).await;
    for (index, choice) in choices.iter().enumerate() {
        let own = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
        let own = own.filter(|own| own["index"] == index);
        let text: String = own.map(|own| own["text"].as_str().unwrap()).collect();
        assert_eq!(choice["text"], text, "{index}");
    }
    let usage = &chunks.last().unwrap()["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(n_prompt), &json!(48)));
    server.stop().await;
}

#[tokio::test]
async fn a_list_of_prompts_longer_than_the_engine_runs_is_answered_in_order() {
    let server = Running::start().await;
    let prompts: Vec<String> = (0..40).map(|number| format!("{number} birds")).collect();
    let body = json!({"prompt": prompts, "echo": true, "max_tokens": 0, "logprobs": 0});
    let answer = server.json("/v1/completions", &body).await;
    let texts: Vec<&str> =
        answer["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert_eq!(texts, prompts);
    let body = json!({"prompt": prompts, "max_tokens": 2, "temperature": 0, "stream": true});
    let chunks = server.chunks("/v1/completions", &body).await;
    let ends = chunks.iter().filter(|chunk| !chunk["choices"][0]["finish_reason"].is_null());
    assert_eq!(ends.count(), 40);
    for fields in [json!({"return_progress": true}), json!({"n": 1_000_000_000_000_u64})] {
        let wrong = with(json!({"prompt": ["a", "b"], "stream": true}), fields);
        assert_eq!(server.post("/v1/completions", &wrong).await.status(), 400);
    }
    server.stop().await;
}

#[tokio::test]
async fn an_echo_with_scores_has_one_more_than_the_prompt_even_if_the_answer_ends_at_once() {
    let server = Running::start().await;
    let end = server.json("/tokenize", &json!({"prompt": "<|end|>", "add_special_tokens": false})).await;
    let end = end["tokens"][0].to_string();
    let prompt = json!([5, 6, 7, 8]);
    for bias in [json!({}), json!({ end: 100 })] {
        let body =
            json!({"prompt": prompt, "echo": true, "logprobs": 1, "max_tokens": 1, "logit_bias": bias});
        let answer = server.json("/v1/completions", &body).await;
        let scores = answer["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap();
        assert_eq!(scores.len(), 5, "{answer}");
        assert!(scores[0].is_null() && scores[1..].iter().all(Value::is_f64), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_has_the_same_text_and_ids_in_fewer_chunks_at_intervals() {
    let body = json!({
        "prompt": "Once upon a time", "max_tokens": 40, "ignore_eos": true, "temperature": 0,
        "stream": true, "logprobs": 0, "return_token_ids": true,
    });
    let mut answers = Vec::new();
    for (interval, n_chunks) in [(1, 40), (7, 1 + 39 / 7 + 1), (1000, 2)] {
        let server = Running::of(ModelRef::Demo, |config| config.stream_interval(interval)).await;
        let chunks = server.chunks("/v1/completions", &body).await;
        let choices: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]).collect();
        let texts: Vec<_> = choices.iter().filter_map(|choice| choice["text"].as_str()).collect();
        assert_eq!(texts.iter().filter(|text| !text.is_empty()).count(), n_chunks, "{texts:?}");
        let lists = |list: fn(&Value) -> &Value| -> Vec<Value> {
            choices.iter().filter_map(|choice| list(choice).as_array()).flatten().cloned().collect()
        };
        let ids = lists(|choice| &choice["token_ids"]);
        assert_eq!(ids.len(), 40);
        answers.push((texts.concat(), ids, lists(|choice| &choice["logprobs"]["token_logprobs"])));
        server.stop().await;
    }
    assert!(answers.iter().all(|other| *other == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn a_stream_tells_how_far_the_prompt_is_if_asked_to() {
    let server = Running::start().await;
    let prompt = "bird ".repeat(700);
    for (path, text) in [
        ("/v1/completions", json!({"prompt": prompt})),
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": prompt}]})),
    ] {
        let asked = json!({"stream": true, "return_progress": true, "max_tokens": 2, "temperature": 0});
        let chunks = server.chunks(path, &with(text.clone(), asked)).await;
        let progress: Vec<&Value> =
            chunks.iter().map(|chunk| &chunk["prompt_progress"]).filter(|it| !it.is_null()).collect();
        let done: Vec<u64> = progress.iter().map(|it| it["processed"].as_u64().unwrap()).collect();
        let total = progress[0]["total"].as_u64().unwrap();
        assert!(done.is_sorted() && done.last() == Some(&total) && total > 512, "{progress:?}");
        assert!(progress[0]["cache"].is_u64() && progress[0]["time_ms"].is_u64());
        let first_text = chunks.iter().position(|chunk| {
            let choice = &chunk["choices"][0];
            [&choice["text"], &choice["delta"]["content"]]
                .iter()
                .any(|text| text.as_str().is_some_and(|text| !text.is_empty()))
        });
        let last_progress = chunks.iter().rposition(|chunk| !chunk["prompt_progress"].is_null());
        assert!(last_progress < first_text, "{chunks:?}");
        let silent = server.chunks(path, &with(text, json!({"stream": true, "max_tokens": 2}))).await;
        assert!(silent.iter().all(|chunk| chunk["prompt_progress"].is_null()));
    }
    server.stop().await;
}

#[tokio::test]
async fn models_are_listed_and_found_by_their_aliases() {
    let server = Running::start().await;
    let list: Value = server.get("/v1/models").await.json().await.unwrap();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&json!("list"), &json!("demo")));
    let one: Value = server.get("/v1/models/gpt-4o").await.json().await.unwrap();
    assert_eq!((&one["id"], &one["root"]), (&json!("demo"), &json!("demo")));
    assert_eq!(server.get("/v1/models/gpt-9").await.status(), 404);
    let answer = server.json("/v1/chat/completions", &with(question(1), json!({"model": "gpt-4o"}))).await;
    assert_eq!(answer["model"], "demo");
    server.stop().await;
}

#[tokio::test]
async fn it_is_ready_once_the_model_is_loaded() {
    let server = Running::start().await;
    assert_eq!(server.get("/health").await.json::<Value>().await.unwrap(), json!({"status": "healthy"}));
    for _ in 0..600 {
        if server.get("/ready").await.status() == 200 {
            return server.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the model was not loaded within 30 seconds");
}

#[tokio::test]
async fn a_running_answer_is_finished_before_the_server_ends() {
    let server = Running::start().await;
    let body = json!({"prompt": "Once upon a time", "temperature": 0, "max_tokens": 300, "ignore_eos": true, "stream": true});
    let mut response = server.post("/v1/completions", &body).await;
    assert!(response.chunk().await.unwrap().is_some());
    let client = server.client.clone();
    let url = format!("http://{}/v1/completions", server.address);
    let stopped = tokio::spawn(server.stop());
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.trim_end().ends_with("data: [DONE]") && !text.contains("\"error\""), "{text}");
    stopped.await.unwrap();
    assert!(client.post(url).json(&body).send().await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn whoever_goes_away_leaves_nothing_behind() {
    let server = Running::start().await;
    let body = json!({"prompt": "Once upon a time", "max_tokens": 900, "ignore_eos": true, "stream": true});
    for _ in 0..20 {
        let mut response = server.post("/v1/completions", &body).await;
        response.chunk().await.unwrap();
        drop(response);
    }
    // All slots are free again: as many choices as there are slots are answered.
    let all = json!({"prompt": "Once", "n": 8, "max_tokens": 2});
    assert_eq!(server.json("/v1/completions", &all).await["choices"].as_array().unwrap().len(), 8);
    server.stop().await;
}

#[tokio::test]
async fn sagemaker_asks_for_chats_and_texts_at_one_place() {
    let server = Running::start().await;
    let chat = json!({"messages": [{"role": "user", "content": "What is 1 + 1?"}], "temperature": 0});
    let answer = server.json("/invocations", &chat).await;
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().contains("Answer: 2"), "{answer}");
    assert_eq!(server.get("/ping").await.status(), 200, "the model is loaded");
    let text = json!({"prompt": "Once upon a time", "max_tokens": 4, "temperature": 0});
    let answer = server.json("/invocations", &text).await;
    assert_eq!(
        answer["choices"][0]["text"],
        server.json("/v1/completions", &text).await["choices"][0]["text"]
    );
    assert_eq!(server.post("/invocations", &json!({})).await.status(), 400);
    server.stop().await;
}
