//! Tools, thoughts and the fields of vLLM over HTTP, from the demo model and from scripted ones.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/running.rs"]
mod running;

use running::{Running, with};
use serde_json::{Value, json};
use sm_runtime::ModelRef;
use sm_server::chat::{ReasoningFormat, ToolForm};

const CHAT: &str = "/v1/chat/completions";

fn tools() -> Value {
    let weather = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "enum": ["Graz", "Linz"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "required": ["city", "days"],
        "additionalProperties": false,
    });
    json!([
        {"type": "function", "function": {"name": "weather", "description": "Forecast", "parameters": weather}},
        {"type": "function", "function": {"name": "now"}},
    ])
}

fn question() -> Value {
    json!({
        "messages": [{"role": "user", "content": "What is the weather in Graz?"}],
        "tools": tools(),
        "temperature": 1,
        "seed": 5,
        "max_tokens": 400,
    })
}

fn call_of(answer: &Value) -> (String, Value) {
    let function = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    let arguments = function["arguments"].as_str().unwrap_or_else(|| panic!("no call: {answer}"));
    let arguments = serde_json::from_str(arguments).unwrap_or_else(|error| panic!("{error}: {answer}"));
    (function["name"].as_str().unwrap().to_owned(), arguments)
}

fn is_weather(arguments: &Value) -> bool {
    let city = &arguments["city"];
    (city == "Graz" || city == "Linz")
        && arguments["days"].as_u64().is_some_and(|days| (1..=9).contains(&days))
}

async fn chunks(server: &Running, body: &Value) -> Vec<Value> {
    let text = server.post(CHAT, &with(body.clone(), json!({"stream": true}))).await.text().await.unwrap();
    let mut data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.pop(), Some("[DONE]"), "{text}");
    data.into_iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect()
}

#[tokio::test]
async fn a_tool_that_must_be_called_is_called_in_every_form() {
    for name in ToolForm::names() {
        let form = ToolForm::of_name(name).unwrap();
        let server = Running::of(ModelRef::Demo, |config| config.tool_form(form)).await;
        let choice = json!({"type": "function", "function": {"name": "weather"}});
        let answer = server.json(CHAT, &with(question(), json!({"tool_choice": choice}))).await;
        let (called, arguments) = call_of(&answer);
        assert!(called == "weather" && is_weather(&arguments), "{name}: {answer}");
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls", "{name}: {answer}");
        assert_eq!(answer["choices"][0]["message"]["tool_calls"].as_array().unwrap().len(), 1, "{name}");
        let required = json!({"tool_choice": "required", "parallel_tool_calls": false});
        let (called, arguments) = call_of(&server.json(CHAT, &with(question(), required)).await);
        let is_right = match called.as_str() {
            "weather" => is_weather(&arguments),
            _ => called == "now" && arguments == json!({}),
        };
        assert!(is_right, "{name}: {called} {arguments}");
        server.stop().await;
    }
}

#[tokio::test]
async fn strict_arguments_hold_where_the_model_may_choose() {
    for name in ToolForm::names() {
        let form = ToolForm::of_name(name).unwrap();
        let server = Running::of(ModelRef::Demo, |config| config.tool_form(form)).await;
        for seed in 0..4 {
            let mut body =
                with(question(), json!({"seed": seed, "max_tokens": 60, "parallel_tool_calls": false}));
            body["tools"][0]["function"]["strict"] = true.into();
            let answer = server.json(CHAT, &body).await;
            let choice = &answer["choices"][0];
            let calls = choice["message"]["tool_calls"].as_array().map_or(0, Vec::len);
            assert!(calls <= 1, "{name}: {answer}");
            if calls == 1 && choice["finish_reason"] == "tool_calls" {
                let (called, arguments) = call_of(&answer);
                assert!(called != "weather" || is_weather(&arguments), "{name}: {answer}");
            }
        }
        let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": 7}}});
        let formed = server.json(CHAT, &with(question(), json!({"response_format": format}))).await;
        let message = &formed["choices"][0]["message"];
        assert!(message["content"] == "7" || message["tool_calls"].is_array(), "{name}: {formed}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_streamed_call_has_the_deltas_of_the_api() {
    let server = Running::start().await;
    let choice = json!({"type": "function", "function": {"name": "weather"}});
    let body = with(question(), json!({"tool_choice": choice, "logprobs": true}));
    let whole = server.json(CHAT, &body).await;
    let chunks = chunks(&server, &body).await;
    let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!(deltas[0], &json!({"role": "assistant", "content": null, "refusal": null}));
    let calls: Vec<&Value> = deltas.iter().filter_map(|delta| delta["tool_calls"].get(0)).collect();
    assert_eq!((&calls[0]["index"], &calls[0]["type"]), (&json!(0), &json!("function")));
    assert_eq!(calls[0]["function"], json!({"name": "weather", "arguments": ""}));
    assert!(calls[0]["id"].as_str().unwrap().starts_with("call_"));
    let fragments = calls[1..].iter().map(|call| {
        assert_eq!(call.as_object().unwrap().keys().collect::<Vec<_>>(), ["index", "function"]);
        call["function"]["arguments"].as_str().unwrap()
    });
    let arguments = &whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"];
    assert_eq!(arguments, &fragments.collect::<String>());
    assert_eq!(whole["choices"][0]["message"]["content"], Value::Null);
    let end = &chunks.last().unwrap()["choices"][0];
    assert_eq!((&end["finish_reason"], &end["delta"]), (&json!("tool_calls"), &json!({})));
    let scores = |choice: &Value| choice["logprobs"]["content"].as_array().cloned().unwrap_or_default();
    let streamed: Vec<Value> = chunks.iter().flat_map(|chunk| scores(&chunk["choices"][0])).collect();
    assert_eq!(streamed, scores(&whole["choices"][0]));
    server.stop().await;
}

#[tokio::test]
async fn tools_are_refused_in_words_or_left_out_with_a_warning() {
    let server = Running::start().await;
    for (fields, param, part) in [
        (json!({"tools": [{}]}), "tools", "[0].type must be"),
        (json!({"tools": [{"type": "function", "function": {"name": ""}}]}), "tools", "[0].function.name"),
        (json!({"tool_choice": "sometimes"}), "tool_choice", "must be \"auto\""),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "x"}}}),
            "tool_choice",
            "none of this name",
        ),
        (json!({"tools": [], "tool_choice": "required"}), "tool_choice", "must be called"),
        (
            json!({"tool_choice": "required", "tools": [{"type": "function", "function": {
                "name": "f", "parameters": {"type": "object", "properties": {"a": {"not": {}}}},
            }}]}),
            "",
            "not",
        ),
        (json!({"functions": []}), "functions", "use tools"),
    ] {
        let response = server.post(CHAT, &with(question(), fields.clone())).await;
        assert_eq!(response.status(), 400, "{fields}");
        let error = &response.json::<Value>().await.unwrap()["error"];
        assert!(param.is_empty() || error["param"] == param, "{error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
    let search = json!({"tools": [{"type": "web_search"}], "max_tokens": 2});
    let response = server.post(CHAT, &with(question(), search)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["warning"], "299 - \"tools[0] of type 'web_search' was left out\"");
    let none = with(question(), json!({"tool_choice": "none", "max_tokens": 3}));
    let mut plain = none.clone();
    let fields = plain.as_object_mut().unwrap();
    fields.remove("tools");
    fields.remove("tool_choice");
    let texts = [server.json(CHAT, &none).await, server.json(CHAT, &plain).await];
    assert_eq!(texts[0]["choices"], texts[1]["choices"], "the model is not told of the tools");
    server.stop().await;
}

#[tokio::test]
async fn prompts_are_scored_as_evaluations_ask_for_it() {
    let server = Running::start().await;
    let tokens = server.json("/tokenize", &json!({"prompt": "Once upon a time"})).await["tokens"].clone();
    let n = tokens.as_array().unwrap().len();
    // As the local-completions of lm-eval.
    let body = json!({"prompt": [tokens], "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": true});
    let answer = server.json("/v1/completions", &body).await;
    let choice = &answer["choices"][0];
    let scores = choice["logprobs"]["token_logprobs"].as_array().unwrap();
    let top = choice["logprobs"]["top_logprobs"].as_array().unwrap();
    assert_eq!((scores.len(), top.len(), &scores[0], &top[0]), (n + 1, n + 1, &Value::Null, &Value::Null));
    for (score, top) in scores.iter().zip(top).skip(1) {
        let best =
            top.as_object().unwrap().values().map(|best| best.as_f64().unwrap()).fold(f64::MIN, f64::max);
        assert!(score.as_f64().unwrap() <= best, "{score} {top}");
    }
    assert!(choice["text"].as_str().unwrap().starts_with("Once upon a time"), "{choice}");
    let none = server.json("/v1/completions", &with(body.clone(), json!({"max_tokens": 0}))).await;
    let only = &none["choices"][0];
    assert_eq!((&only["text"], &only["finish_reason"]), (&json!("Once upon a time"), &json!("length")));
    assert_eq!(only["logprobs"]["token_logprobs"], json!(scores[..n]));
    assert_eq!(none["usage"]["completion_tokens"], 0);
    let text = json!({"prompt": "Once upon a time", "prompt_logprobs": 2, "max_tokens": 1, "return_token_ids": true});
    let of_text = &server.json("/v1/completions", &text).await["choices"][0];
    assert_eq!(of_text["prompt_token_ids"], tokens);
    let own = &of_text["prompt_logprobs"][1][tokens[1].to_string()];
    assert_eq!(own["logprob"], scores[1], "{of_text}");
    assert_eq!(of_text["token_ids"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn fields_of_vllm_take_effect_or_are_refused() {
    let server = Running::start().await;
    let ask = async |fields: Value| {
        server.post("/v1/completions", &with(json!({"prompt": "Once", "seed": 1}), fields)).await
    };
    for fields in [
        json!({"structured_outputs": {"choice": ["one (1)", "<two> & 3"]}}),
        json!({"guided_choice": ["one (1)", "<two> & 3"]}),
        json!({"guided_regex": "one \\(1\\)|<two> & 3"}),
    ] {
        let text = ask(fields.clone()).await.json::<Value>().await.unwrap()["choices"][0]["text"].clone();
        assert!(text == "one (1)" || text == "<two> & 3", "{fields}: {text}");
    }
    let json = ask(json!({"structured_outputs": {"json": {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": false}}})).await;
    assert_eq!(json.json::<Value>().await.unwrap()["choices"][0]["text"], "{\"a\":1}");
    let both = json!({"priority": -1, "cache_salt": "me", "allowed_token_ids": [300], "max_tokens": 2, "best_of": 3, "bad_words": ["x"], "min_tokens": 1, "ignore_eos": true, "min_p": 0.1, "repetition_penalty": 1.1, "top_k": 5});
    let both = ask(both).await.json::<Value>().await.unwrap();
    assert_eq!(
        (both["choices"].as_array().unwrap().len(), &both["usage"]["completion_tokens"]),
        (1, &json!(2)),
        "{both}"
    );
    for (fields, part) in [
        (json!({"suffix": "end"}), "suffix"),
        (json!({"best_of": 2, "n": 3}), "best_of"),
        (json!({"use_beam_search": true}), "beam search"),
        (json!({"guided_regex": "a", "guided_choice": ["b"]}), "both given"),
        (json!({"structured_outputs": {"regex": "a", "choice": ["b"]}}), "not several"),
        (json!({"echo": true, "logprobs": 1, "stream": true}), "not in a stream"),
        (json!({"stream_options": {"x": 1}}), "x is unknown"),
        (json!({"max_tokens": 0}), "0 is not allowed"),
    ] {
        let response = ask(fields.clone()).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status == 400 && text.contains(part), "{fields}: {text}");
    }
    let body = json!({"prompt": "Once", "max_tokens": 3, "stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    let text = server.post("/v1/completions", &body).await.text().await.unwrap();
    let usages: Vec<u64> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .map(|chunk| chunk["usage"]["completion_tokens"].as_u64().unwrap())
        .collect();
    assert!(usages.is_sorted() && usages.first() == Some(&1) && usages.last() == Some(&3), "{usages:?}");
    server.stop().await;
}

fn scripted(name: &str) -> ModelRef {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    ModelRef::named(format!("scripted:{scripts}/{name}.json"))
}

#[tokio::test]
async fn a_tool_loop_ends_with_an_answer_from_the_result() {
    let server = Running::of(scripted("weather"), |config| config).await;
    let first = server.json(CHAT, &question()).await;
    let message = first["choices"][0]["message"].clone();
    assert_eq!(call_of(&first), ("weather".to_owned(), json!({"city": "Graz", "days": 2})));
    assert_eq!(message["content"], "I look it up.");
    assert_eq!(message["reasoning_content"], "The user wants a forecast.");
    let hidden = server.json(CHAT, &with(question(), json!({"include_reasoning": false}))).await;
    assert_eq!(hidden["choices"][0]["message"]["reasoning_content"], Value::Null);
    let mut body = question();
    let messages = body["messages"].as_array_mut().unwrap();
    let id = message["tool_calls"][0]["id"].clone();
    messages.push(message);
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": "7 degrees"}));
    let last = server.json(CHAT, &body).await;
    assert_eq!(last["choices"][0]["message"]["content"], "It will be 7 degrees in Graz.");
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    let chunks = chunks(&server, &question()).await;
    let texts = |name: &str| {
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][name].as_str()).collect::<String>()
    };
    assert_eq!(texts("reasoning_content"), "The user wants a forecast.");
    assert_eq!(texts("content"), "I look it up.");
    server.stop().await;
}

#[tokio::test]
async fn a_form_holds_for_the_answer_and_not_for_the_thoughts_before_it() {
    let server = Running::of(scripted("thinking"), |config| config).await;
    let schema = json!({"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    for (text, fields, thought, answer) in [
        ("Is it?", json!({}), "Easy.", "Yes."),
        ("Give me JSON", json!({"response_format": format}), "They want JSON.", "{\"x\":1}"),
        ("In a word", json!({"guided_regex": "yes/no|no/yes"}), "One word.", "yes/no"),
    ] {
        let body = with(json!({"messages": [{"role": "user", "content": text}], "max_tokens": 100}), fields);
        let answered = server.json(CHAT, &body).await;
        let message = &answered["choices"][0]["message"];
        assert_eq!(
            (&message["reasoning_content"], &message["content"]),
            (&json!(thought), &json!(answer)),
            "{answered}"
        );
    }
    let grammar = json!({"messages": [{"role": "user", "content": "?"}], "guided_grammar": "start: \"a\""});
    assert_eq!(server.post(CHAT, &grammar).await.status(), 400);
    server.stop().await;
}

#[tokio::test]
async fn a_forced_call_that_the_limit_cuts_shows_no_marks() {
    for name in ToolForm::names() {
        let form = ToolForm::of_name(name).unwrap();
        let server = Running::of(ModelRef::Demo, |config| config.tool_form(form)).await;
        for max_tokens in [1, 4, 9] {
            let cut = json!({"tool_choice": "required", "max_tokens": max_tokens});
            let answer = server.json(CHAT, &with(question(), cut.clone())).await;
            let choice = &answer["choices"][0];
            assert_eq!(choice["finish_reason"], "length", "{name}: {answer}");
            let content = &choice["message"]["content"];
            assert!(content.is_null() || content == "", "{name}: {answer}");
            let streamed = chunks(&server, &with(question(), cut)).await;
            let deltas = streamed.iter().map(|chunk| &chunk["choices"][0]["delta"]);
            let content: String = deltas.filter_map(|delta| delta["content"].as_str()).collect();
            assert_eq!(content, "", "{name}: {streamed:?}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn thoughts_go_where_the_server_or_the_request_wants_them() {
    let (apart, raw) = (("Yes.", json!("Easy.")), ("Easy.\n</think>\n\nYes.", Value::Null));
    for (of_server, of_request, (content, reasoning)) in [
        (None, None, &apart),
        (Some(ReasoningFormat::InContent), None, &raw),
        (Some(ReasoningFormat::InContent), Some("deepseek"), &apart),
        (None, Some("none"), &raw),
    ] {
        let server = Running::of(scripted("thinking"), |mut config| {
            config.reasoning_format = of_server;
            config
        })
        .await;
        let mut body = json!({"messages": [{"role": "user", "content": "Is it?"}]});
        if let Some(format) = of_request {
            body["reasoning_format"] = format.into();
        }
        let message = server.json(CHAT, &body).await["choices"][0]["message"].clone();
        assert_eq!((&message["content"], &message["reasoning_content"]), (&json!(content), reasoning));
        body["reasoning_format"] = "legacy".into();
        assert_eq!(server.post(CHAT, &body).await.status(), 400);
        server.stop().await;
    }
}
