//! A JSON API: reads one JSON object, answers with another, and says what is wrong in JSON too.
//!
//!     cargo run --release --example json_api
//!     curl -i http://127.0.0.1:8000/convert --json '{"celsius": 21.5}'

use ferricorn::http::{HeaderValue, StatusCode, header};
use ferricorn::{Error, Request, Response, typed};
use serde::Deserialize;
use serde_json::{Value, json};

fn main() -> std::process::ExitCode {
    ferricorn::main(api)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Convert {
    celsius: f64,
}

fn api(request: &mut Request) -> Result<Response, Error> {
    match (request.head().method(), request.path()) {
        ("POST", "/convert") => convert(request),
        (_, "/convert") => {
            let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "use POST");
            let allow = HeaderValue::from_static("POST");
            response.headers_mut().insert(header::ALLOW, allow);
            Ok(response)
        }
        _ => Ok(problem(StatusCode::NOT_FOUND, "there is /convert only")),
    }
}

fn convert(request: &mut Request) -> Result<Response, Error> {
    let content_type = request.header("content-type").unwrap_or("");
    if !content_type.starts_with("application/json") {
        let reason = "send application/json";
        return Ok(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
    }
    // The body is complete before a handler runs: nothing here waits for the client.
    let convert: Convert = match serde_json::from_reader(request.body_mut()) {
        Ok(convert) => convert,
        Err(error) => return Ok(problem(StatusCode::BAD_REQUEST, &error.to_string())),
    };
    let fahrenheit = convert.celsius * 9.0 / 5.0 + 32.0;
    Ok(answer(
        StatusCode::OK,
        &json!({ "celsius": convert.celsius, "fahrenheit": fahrenheit }),
    ))
}

fn problem(status: StatusCode, reason: &str) -> Response {
    answer(status, &json!({ "error": reason }))
}

fn answer(status: StatusCode, value: &Value) -> Response {
    let mut response = typed("application/json", format!("{value}\n"));
    *response.status_mut() = status;
    response
}
