//! What clients of OpenAI's Responses API get: the forms of <https://platform.openai.com/docs/api-reference/responses>, from the
//! demo model.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/running.rs"]
mod running;

use running::{Running, schema, with};
use serde_json::{Value, json};

const PATH: &str = "/v1/responses";

fn question() -> Value {
    json!({"model": "demo", "input": "Solve for x: 2x + 3 = 9", "temperature": 0})
}

fn weather() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"enum": ["Graz"]}}, "required": ["city"], "additionalProperties": false});
    json!([{"type": "function", "name": "weather", "parameters": parameters, "strict": true}])
}

/// An event's data, or the object in it, without what differs between two responses.
fn shape(response: &Value) -> Value {
    let mut shape = response.clone();
    for name in ["id", "created_at", "completed_at", "usage"] {
        shape[name] = Value::Null;
    }
    for item in shape["output"].as_array_mut().unwrap() {
        item["id"] = Value::Null;
        if item.get("call_id").is_some() {
            item["call_id"] = Value::Null;
        }
    }
    shape
}

#[tokio::test]
async fn a_response_is_given_at_once_and_as_a_stream_of_the_same() {
    let server = Running::start().await;
    let response = server.json(PATH, &question()).await;
    assert_eq!((&response["object"], &response["status"]), (&json!("response"), &json!("completed")));
    let message = &response["output"][0];
    assert_eq!((&message["type"], &message["role"]), (&json!("message"), &json!("assistant")));
    let text = message["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("Answer: 3"), "{response}");
    let usage = &response["usage"];
    assert!(usage["input_tokens"].as_u64().unwrap() > 10);
    assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 0);
    for name in ["error", "incomplete_details", "instructions", "previous_response_id", "max_output_tokens"] {
        assert_eq!(response.get(name), Some(&Value::Null), "{name}");
    }

    let events = server.events(PATH, &with(question(), json!({"stream": true}))).await;
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let prefix = ["created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"];
    let suffix =
        ["output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed"];
    let full = |names: [&str; 5]| names.map(|name| format!("response.{name}"));
    assert_eq!(names[..5], full(prefix));
    assert_eq!(names[names.len() - 5..], full(suffix));
    for (idx, (name, data)) in events.iter().enumerate() {
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(idx)));
    }
    let deltas = events.iter().filter(|(name, _)| name == "response.output_text.delta");
    assert_eq!(deltas.map(|(_, data)| data["delta"].as_str().unwrap()).collect::<String>(), text);
    assert_eq!(events[0].1["response"]["status"], "in_progress");
    assert_eq!(shape(&events.last().unwrap().1["response"]), shape(&response));
    server.stop().await;
}

#[tokio::test]
async fn a_request_goes_on_from_a_stored_response() {
    let server = Running::start().await;
    let first = server.json(PATH, &question()).await;
    let id = first["id"].as_str().unwrap();
    let more = json!({"input": "What is 17 + 25?", "previous_response_id": id});
    let second = server.json(PATH, &with(question(), more)).await;
    let all = json!({"input": [
        {"role": "user", "content": question()["input"]},
        first["output"][0],
        {"role": "user", "content": [{"type": "input_text", "text": "What is 17 + 25?"}]},
    ]});
    let same = server.json(PATH, &with(question(), all)).await;
    assert_eq!(second["output"][0]["content"], same["output"][0]["content"]);
    assert_eq!(second["usage"]["input_tokens"], same["usage"]["input_tokens"]);

    let url = format!("{PATH}/{id}");
    assert_eq!(server.get(&url).await.json::<Value>().await.unwrap(), first);
    let items: Value = server.get(&format!("{url}/input_items")).await.json().await.unwrap();
    assert_eq!((&items["object"], &items["data"][0]["content"]), (&json!("list"), &question()["input"]));
    let deleted = server.client.delete(server.url(&url)).send().await.unwrap();
    assert_eq!(deleted.json::<Value>().await.unwrap()["deleted"], true);
    assert_eq!(server.get(&url).await.status(), 404);
    let unstored = server.json(PATH, &with(question(), json!({"store": false}))).await;
    assert_eq!(server.get(&format!("{PATH}/{}", unstored["id"].as_str().unwrap())).await.status(), 404);
    server.stop().await;
}

#[tokio::test]
async fn a_response_that_is_cut_is_incomplete() {
    let server = Running::start().await;
    let cut = server.json(PATH, &with(question(), json!({"max_output_tokens": 3}))).await;
    assert_eq!(cut["status"], "incomplete");
    assert_eq!(cut["incomplete_details"], json!({"reason": "max_output_tokens"}));
    let events =
        server.events(PATH, &with(question(), json!({"max_output_tokens": 3, "stream": true}))).await;
    assert_eq!(events.last().unwrap().0, "response.incomplete");
    // LM Studio's clients ask whether a model answers.
    server.json(PATH, &json!({"model": "demo", "input": "", "max_output_tokens": 1})).await;
    server.stop().await;
}

#[tokio::test]
async fn text_has_the_form_of_a_schema_and_log_probabilities() {
    let server = Running::start().await;
    let format = json!({"type": "json_schema", "name": "x", "schema": schema(), "strict": true});
    let fields = json!({
        "text": {"format": format},
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
    });
    let response = server.json(PATH, &with(question(), fields.clone())).await;
    let part = &response["output"][0]["content"][0];
    assert!(serde_json::from_str::<Value>(part["text"].as_str().unwrap()).unwrap()["x"].is_i64());
    assert_eq!(part["logprobs"][0]["top_logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(response["text"]["format"], format);
    let events = server.events(PATH, &with(with(question(), fields), json!({"stream": true}))).await;
    let streamed = events.iter().filter(|(name, _)| name == "response.output_text.delta");
    let streamed: Vec<Value> =
        streamed.flat_map(|(_, data)| data["logprobs"].as_array().unwrap().clone()).collect();
    assert_eq!(Value::from(streamed), part["logprobs"]);
    server.stop().await;
}

#[tokio::test]
async fn a_function_is_called_with_the_whole_sequence_of_events() {
    let server = Running::with_tools().await;
    let tools = json!({"tools": weather(), "tool_choice": "required", "parallel_tool_calls": false});
    let response = server.json(PATH, &with(question(), tools.clone())).await;
    let call = &response["output"][0];
    assert_eq!(
        (&call["type"], &call["name"], &call["status"]),
        (&json!("function_call"), &json!("weather"), &json!("completed"))
    );
    assert_eq!(
        serde_json::from_str::<Value>(call["arguments"].as_str().unwrap()).unwrap(),
        json!({"city": "Graz"})
    );

    let events = server.events(PATH, &with(with(question(), tools), json!({"stream": true}))).await;
    let mut names: Vec<&str> =
        events.iter().map(|(name, _)| name.strip_prefix("response.").unwrap()).collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "created",
            "in_progress",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    // The result goes into the next turn.
    let output = json!([{"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}]);
    let next = json!({"input": output, "previous_response_id": response["id"], "max_output_tokens": 5});
    server.json(PATH, &with(question(), next)).await;
    server.stop().await;
}

#[tokio::test]
async fn thoughts_are_an_item_of_their_own() {
    let server = Running::with_tools().await;
    let thinking = json!({"reasoning": {"effort": "medium"}, "max_output_tokens": 20});
    let response = server.json(PATH, &with(question(), thinking.clone())).await;
    let item = &response["output"][0];
    assert_eq!((&item["type"], &item["summary"]), (&json!("reasoning"), &json!([])), "{response}");
    assert!(!item["content"][0]["text"].as_str().unwrap().is_empty());
    assert!(response["usage"]["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 10);
    let events = server.events(PATH, &with(with(question(), thinking), json!({"stream": true}))).await;
    assert!(events.iter().any(|(name, _)| name == "response.reasoning_text.delta"));
    server.stop().await;
}

#[tokio::test]
async fn errors_name_the_field() {
    let server = Running::start().await;
    for (fields, status, param, part) in [
        (json!({"input": 1}), 400, json!("input"), "must be a text"),
        (json!({"model": "gpt-9"}), 404, json!("model"), "does not exist"),
        (json!({"previous_response_id": "resp_x"}), 400, json!("previous_response_id"), "not found"),
        (json!({"background": true}), 400, json!("background"), "not supported"),
        (json!({"input": "word ".repeat(3000)}), 400, Value::Null, "context"),
    ] {
        let response = server.post(PATH, &with(question(), fields)).await;
        assert_eq!(response.status(), status);
        let error = &response.json::<Value>().await.unwrap()["error"];
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
    server.stop().await;
}

/// `{"model": "demo", "input": "Hi", "max_output_tokens": 1}` as zstd compresses it.
#[rustfmt::skip]
const COMPRESSED: &[u8] = &[
    40, 181, 47, 253, 36, 56, 193, 1, 0, 123, 34, 109, 111, 100, 101, 108, 34, 58, 32, 34,
    100, 101, 109, 111, 34, 44, 32, 34, 105, 110, 112, 117, 116, 34, 58, 32, 34, 72, 105, 34,
    44, 32, 34, 109, 97, 120, 95, 111, 117, 116, 112, 117, 116, 95, 116, 111, 107, 101, 110, 115,
    34, 58, 32, 49, 125, 194, 216, 55, 21,
];

#[tokio::test]
async fn bodies_may_be_compressed() {
    let server = Running::start().await;
    let send = |encoding: &str| {
        let request = server.client.post(server.url(PATH)).header("content-encoding", encoding);
        request.header("content-type", "application/json").body(COMPRESSED).send()
    };
    let response = send("zstd").await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.json::<Value>().await.unwrap()["usage"]["output_tokens"], 1);
    assert_eq!(send("gzip").await.unwrap().status(), 415);
    server.stop().await;
}
