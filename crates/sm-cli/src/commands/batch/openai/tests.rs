//! OpenAI's lines become requests, and say which field is wrong.

use serde_json::json;
use sm_runtime::{ChatRequest, Grammar, Prompt, TokenId};

use super::*;

fn parsed(line: &Value) -> (Recipient, Result<Request, String>) {
    let fields = Fields::parse(&line.to_string()).unwrap();
    assert!(is_request(&fields));
    parse(&fields, 4, GenerationOptions::new().seed(7), None)
}

fn chat(body: &Value) -> Result<Request, String> {
    parsed(&json!({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body})).1
}

fn completion(body: &Value) -> Result<Request, String> {
    parsed(&json!({"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": body})).1
}

#[test]
fn the_fields_of_the_api_take_effect() {
    let request = chat(&json!({
        "model": "m", "messages": [{"role": "developer", "content": "b"}, {"role": "user", "content": "c"}],
        "max_completion_tokens": 9, "temperature": 0.5, "n": 2, "stop": ["x"], "logit_bias": {"5": -100},
        "seed": 3, "logprobs": true, "top_logprobs": 4, "tools": [{"type": "function", "function": {"name": "f"}}], "user": "u",
        "chat_template_kwargs": {"enable_thinking": false}, "stream": false, "presence_penalty": null,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "strict": true, "schema": {"const": 1}}},
    }))
    .unwrap();
    let expected =
        ChatRequest::new().system("b").user("c").tool(json!({"type": "function", "function": {"name": "f"}}));
    assert_eq!(request.prompt, expected.variable("enable_thinking", false).into());
    let options = request.options;
    assert_eq!((request.n, options.limits.max_new_tokens, options.sampling.seed), (2, 9, Some(3)));
    assert_eq!((options.sampling.temperature, options.logprobs), (0.5, Some(4)));
    assert_eq!(options.sampling.logit_bias, [(TokenId(5), -100.0)]);
    assert_eq!(options.grammar, Some(Grammar::JsonSchema("{\"const\":1}".to_owned())));
    let request = chat(
        &json!({"messages": [{"role": "user", "content": "c"}], "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}),
    );
    assert_eq!(request.unwrap().prompt, ChatRequest::new().user("c").into());
    for (prompt, expected) in [
        (json!("a"), Prompt::Text("a".to_owned())),
        (json!(["a"]), Prompt::Text("a".to_owned())),
        (json!([1, 2]), Prompt::Tokens(vec![TokenId(1), TokenId(2)])),
        (json!([[1, 2]]), Prompt::Tokens(vec![TokenId(1), TokenId(2)])),
    ] {
        assert_eq!(completion(&json!({"prompt": prompt, "max_tokens": 1})).unwrap().prompt, expected);
    }
}

#[test]
fn errors_name_the_field() {
    let user = json!([{"role": "user", "content": "a"}]);
    for (body, part) in [
        (json!({"messages": user, "max_tokens": 1, "max_completion_tokens": 2}), "n_tokens is given twice"),
        (json!({"messages": user, "stream": true}), "body.stream: "),
        (json!({"messages": user, "tool_choice": "required"}), "body.tool_choice: "),
        (json!({"messages": user, "audio": {}}), "body.audio: unknown field"),
        (json!({"messages": user, "top_logprobs": 2}), "body.top_logprobs: "),
        (json!({"messages": user, "response_format": {"type": "x"}}), "body.response_format: "),
        (json!({"prompt": "a"}), "body.prompt: this endpoint takes messages"),
        (json!({"model": "m"}), "body.messages: missing"),
    ] {
        let error = chat(&body).unwrap_err();
        assert!(error.contains(part), "{body}: {error}");
    }
    assert!(completion(&json!({"prompt": ["a", "b"]})).unwrap_err().contains("body.prompt"));
    for (line, part) in [
        (json!({"custom_id": "a", "method": "GET", "url": "/v1/completions", "body": {}}), "method: "),
        (
            json!({"custom_id": "a", "url": "/v1/embeddings", "body": {}}),
            "url: must be /v1/chat/completions or",
        ),
        (json!({"custom_id": 1, "url": "/v1/completions", "body": {}}), "custom_id: must be a string"),
        (json!({"url": "/v1/completions", "body": {}}), "custom_id: missing"),
        (json!({"custom_id": "a", "url": "/v1/completions"}), "body: missing"),
        (json!({"custom_id": "a", "url": "/v1/completions", "body": {}, "x": 1}), "x: unknown field"),
    ] {
        let error = parsed(&line).1.unwrap_err();
        assert!(error.contains(part), "{line}: {error}");
    }
}
