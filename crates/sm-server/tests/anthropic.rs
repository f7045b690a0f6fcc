//! What clients of Anthropic's API get: the forms of <https://platform.claude.com/docs/en/api/messages>, from the demo model.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/running.rs"]
mod running;

use running::{Running, schema, with};
use serde_json::{Value, json};

fn messages() -> Value {
    json!({
        "model": "demo",
        "max_tokens": 200,
        "temperature": 0,
        "messages": [{"role": "user", "content": "Solve for x: 2x + 3 = 9"}],
    })
}

fn weather() -> Value {
    json!([{
        "name": "weather",
        "description": "The weather in a city.",
        "input_schema": {"type": "object", "properties": {"city": {"enum": ["Graz"]}}, "required": ["city"], "additionalProperties": false},
    }])
}

#[tokio::test]
async fn a_message_is_answered_at_once_and_as_a_stream_of_the_same_blocks() {
    let server = Running::start().await;
    let answer = server.json("/v1/messages", &messages()).await;
    let text = answer["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("Answer: 3"), "{answer}");
    assert_eq!((&answer["type"], &answer["role"]), (&json!("message"), &json!("assistant")));
    assert!(answer["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!((&answer["stop_reason"], &answer["stop_sequence"]), (&json!("end_turn"), &Value::Null));
    let count = |usage: &Value, name: &str| usage[name].as_u64().unwrap();
    let n_prompt = |usage: &Value| count(usage, "input_tokens") + count(usage, "cache_read_input_tokens");

    let stream = with(messages(), json!({"stream": true}));
    let events = server.events("/v1/messages?beta=true", &stream).await;
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..3], ["message_start", "ping", "content_block_start"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    assert!(events.iter().all(|(name, data)| data["type"] == *name));
    let started = &events[0].1["message"];
    assert_eq!((&started["content"], &started["stop_reason"]), (&json!([]), &Value::Null));
    assert_eq!(n_prompt(&started["usage"]), n_prompt(&answer["usage"]));
    let streamed: String = events.iter().filter_map(|(_, data)| data["delta"]["text"].as_str()).collect();
    assert_eq!(streamed, text);
    let (_, end) = &events[events.len() - 2];
    assert_eq!(end["delta"], json!({"stop_reason": "end_turn", "stop_sequence": null}));
    assert_eq!(end["usage"]["output_tokens"], answer["usage"]["output_tokens"]);
    assert_eq!(n_prompt(&end["usage"]), n_prompt(&answer["usage"]));

    let mut counted = messages();
    counted.as_object_mut().unwrap().remove("max_tokens");
    let tokens = server.json("/v1/messages/count_tokens", &counted).await;
    assert_eq!(count(&tokens, "input_tokens"), n_prompt(&answer["usage"]));
    server.stop().await;
}

#[tokio::test]
async fn a_message_ends_where_it_is_told_to() {
    let server = Running::start().await;
    let stopped =
        server.json("/v1/messages", &with(messages(), json!({"stop_sequences": ["zzz", "2x ="]}))).await;
    assert_eq!(
        (&stopped["stop_reason"], &stopped["stop_sequence"]),
        (&json!("stop_sequence"), &json!("2x ="))
    );
    let cut = server.json("/v1/messages", &with(messages(), json!({"max_tokens": 3}))).await;
    assert_eq!((&cut["stop_reason"], &cut["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(3)));
    // Agents ask for more than any context has.
    let more = server.json("/v1/messages", &with(messages(), json!({"max_tokens": 32_000}))).await;
    assert_eq!(more["stop_reason"], "end_turn");
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_was_begun_goes_on() {
    let server = Running::start().await;
    let begun = json!({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "Solve for x: 2x + 3 = 9"}]},
        {"role": "assistant", "content": "Subtract 3 from both sides: 2x ="},
    ]});
    let answer = server.json("/v1/messages", &with(messages(), begun)).await;
    assert!(answer["content"][0]["text"].as_str().unwrap().starts_with(" 9 - 3"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn output_has_the_form_of_a_schema() {
    let server = Running::start().await;
    let format = json!({"output_config": {"format": {"type": "json_schema", "schema": schema()}}});
    let answer = server.json("/v1/messages", &with(messages(), format)).await;
    let value: Value = serde_json::from_str(answer["content"][0]["text"].as_str().unwrap()).unwrap();
    assert!(value["x"].is_i64(), "{value}");
    server.stop().await;
}

#[tokio::test]
async fn thoughts_are_blocks_of_their_own() {
    let server = Running::with_tools().await;
    let thinking = json!({"thinking": {"type": "adaptive"}, "max_tokens": 20});
    let answer = server.json("/v1/messages", &with(messages(), thinking.clone())).await;
    let block = &answer["content"][0];
    assert_eq!(block["type"], "thinking", "{answer}");
    assert!(!block["thinking"].as_str().unwrap().is_empty() && block["signature"].is_string());
    let events =
        server.events("/v1/messages", &with(with(messages(), thinking), json!({"stream": true}))).await;
    let kinds: Vec<&str> = events.iter().filter_map(|(_, data)| data["delta"]["type"].as_str()).collect();
    assert!(kinds.starts_with(&["thinking_delta"]) && kinds.ends_with(&["signature_delta"]), "{kinds:?}");
    let omitted = json!({"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}, "max_tokens": 20});
    let answer = server.json("/v1/messages", &with(messages(), omitted)).await;
    assert_eq!(
        (&answer["content"][0]["type"], &answer["content"][0]["thinking"]),
        (&json!("thinking"), &json!(""))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_tool_is_called_if_it_must_be() {
    let server = Running::with_tools().await;
    let tools = json!({"tools": weather(), "tool_choice": {"type": "tool", "name": "weather"}});
    let body = with(messages(), tools);
    let answer = server.json("/v1/messages", &body).await;
    assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
    let call = &answer["content"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("tool_use"), &json!("weather")));
    assert_eq!(call["input"], json!({"city": "Graz"}));

    let events = server.events("/v1/messages", &with(body, json!({"stream": true}))).await;
    let start = events.iter().find(|(name, _)| name == "content_block_start").unwrap();
    assert_eq!(
        (&start.1["content_block"]["name"], &start.1["content_block"]["input"]),
        (&json!("weather"), &json!({}))
    );
    let json: String = events.iter().filter_map(|(_, data)| data["delta"]["partial_json"].as_str()).collect();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), json!({"city": "Graz"}));
    server.stop().await;
}

#[tokio::test]
async fn a_forced_call_that_the_limit_cuts_is_there_with_what_is_whole_of_it() {
    let server = Running::with_tools().await;
    let schema = json!({
        "type": "object",
        "properties": {"unit": {"const": "celsius"}, "text": {"type": "string", "minLength": 400}},
        "required": ["unit", "text"],
        "additionalProperties": false,
    });
    let forced = json!({
        "tools": [{"name": "weather", "input_schema": schema}],
        "tool_choice": {"type": "any"},
        "max_tokens": 80,
    });
    let message = server.json("/v1/messages", &with(messages(), forced.clone())).await;
    assert_eq!(message["stop_reason"], "max_tokens");
    let call = message["content"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&call["type"], &call["name"], &call["input"]),
        (&json!("tool_use"), &json!("weather"), &json!({"unit": "celsius"}))
    );
    let events =
        server.events("/v1/messages", &with(with(messages(), forced), json!({"stream": true}))).await;
    let start = events.iter().find(|(name, _)| name == "content_block_start").unwrap();
    assert_eq!(start.1["content_block"]["type"], "tool_use");
    server.stop().await;
}

#[tokio::test]
async fn results_of_tools_and_tools_of_others_are_taken() {
    let server = Running::with_tools().await;
    let turn = json!({
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Graz"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}]},
        ],
        "tools": [weather()[0], {"type": "web_search_20250305", "name": "web_search"}],
        "max_tokens": 5,
    });
    let response = server.post("/v1/messages", &with(messages(), turn)).await;
    assert_eq!(response.status(), 200);
    let warning = response.headers()["warning"].to_str().unwrap().to_owned();
    assert!(warning.contains("web_search_20250305"), "{warning}");
    server.stop().await;
}

#[tokio::test]
async fn sdks_are_told_to_keep_their_conversations_themselves() {
    let server = Running::start().await;
    let response =
        server.post("/v1/messages?beta=true", &with(messages(), json!({"thread": {"type": "create"}}))).await;
    assert_eq!(response.status(), 400);
    let error: Value = response.json().await.unwrap();
    let details = json!({"error_code": "thread_unsupported_request", "unsupported": ["thread"]});
    assert_eq!(error["error"]["details"], details, "{error}");
    server.stop().await;
}

#[tokio::test]
async fn errors_have_the_envelope_that_clients_know() {
    let server = Running::start().await;
    let image = json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]});
    let long = json!({"messages": [{"role": "user", "content": "word ".repeat(3000)}]});
    for (fields, status, kind, part) in [
        (json!({"model": "gpt-9"}), 404, "not_found_error", "does not exist"),
        (image, 400, "invalid_request_error", "image blocks cannot be read"),
        (long, 400, "invalid_request_error", "prompt is too long"),
        (json!({"nonsense": 1}), 400, "invalid_request_error", "nonsense: unknown field"),
        (json!({"messages": null}), 400, "invalid_request_error", "messages: missing"),
        (json!({"temperature": "hot"}), 400, "invalid_request_error", "temperature: must be a number"),
    ] {
        let response = server.post("/v1/messages", &with(messages(), fields)).await;
        assert_eq!(response.status(), status);
        let error: Value = response.json().await.unwrap();
        assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!(kind)), "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(part), "{error}");
        assert!(error["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{error}");
    }
    server.stop().await;
}
