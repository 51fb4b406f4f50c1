"""Errors as providers word them: status, media type, body, and the reason that the table must give.

Written for these tests from the providers' public error pages and from reports of real errors; no body is a recording.
"""

from __future__ import annotations

from typing import NamedTuple

JSON, SSE, HTML, TEXT = b"application/json", b"text/event-stream; charset=utf-8", b"text/html", b"text/plain"


class Case(NamedTuple):
    """`status`: of the status line. `shown`: the client's status when the chain is spent, None for as it came."""

    name: str
    status: int
    body: bytes
    reason: str
    shown: int | None = None
    media: bytes = JSON


OPENAI = [
    Case(
        "openai tokens per minute",
        429,
        b'{"error":{"message":"Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000,'
        b' Used 29000, Requested 2000. Please try again in 2s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}',
        "rate limited",
    ),
    Case(
        "openai one request above the limit",
        429,
        b'{"error":{"message":"Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000,'
        b' Requested 90000.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}',
        "too large for the rate limit",
    ),
    Case(
        "openai slow down",
        429,
        b'{"error":{"message":"Slow down","type":"rate_limit_error","code":"slow_down"}}',
        "rate limited",
    ),
    Case(
        "openai slow down as 503",
        503,
        b'{"error":{"message":"Slow down","type":"service_unavailable_error","code":"slow_down"}}',
        "rate limited",
    ),
    Case(
        "openai no credit",
        429,
        b'{"error":{"message":"You exceeded your current quota, please check your plan and billing details.",'
        b'"type":"insufficient_quota","param":null,"code":"insufficient_quota"}}',
        "out of credit",
    ),
    Case(
        "openai prepaid balance",
        429,
        b'{"error":{"message":"No credits","type":"insufficient_quota","code":"credit_balance_exhausted"}}',
        "out of credit",
    ),
    Case(
        "openai project limit without its type",
        429,
        b'{"error":{"message":"Limit","type":null,"code":"project_spend_limit_exceeded"}}',
        "out of credit",
    ),
    Case(
        "openai organization limit",
        429,
        b'{"error":{"message":"Limit","type":"insufficient_quota","code":"organization_spend_limit_exceeded"}}',
        "out of credit",
    ),
    Case(
        "openai wrong key",
        401,
        b'{"error":{"message":"Incorrect API key provided: sk-***.","type":"invalid_request_error","param":null,'
        b'"code":"invalid_api_key"}}',
        "key refused",
    ),
    Case(
        "openai region",
        403,
        b'{"error":{"code":"unsupported_country_region_territory","message":"Country, region, or territory not supported",'
        b'"param":null,"type":"request_forbidden"}}',
        "model not served",
    ),
    Case(
        "openai unknown model",
        404,
        b'{"error":{"message":"The model `gpt-9` does not exist or you do not have access to it.",'
        b'"type":"invalid_request_error","param":null,"code":"model_not_found"}}',
        "model not served",
    ),
    Case(
        "openai model not in the project",
        403,
        b'{"error":{"message":"Project `proj_1` does not have access to model `gpt-5`","type":"invalid_request_error",'
        b'"param":null,"code":"model_not_found"}}',
        "model not served",
    ),
    Case(
        "openai context",
        400,
        b'{"error":{"message":"This model\'s maximum context length is 128000 tokens. However, your messages resulted in'
        b' 204308 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}',
        "context too long",
    ),
    Case(
        "openai image policy",
        400,
        b'{"error":{"message":"Your request was rejected by the safety system.","type":"image_generation_user_error",'
        b'"param":null,"code":"moderation_blocked"}}',
        "content filter",
    ),
    Case(
        "openai bad parameter",
        400,
        b'{"error":{"message":"Unsupported parameter: \'max_tokens\' is not supported with this model. Use'
        b' \'max_completion_tokens\' instead.","type":"invalid_request_error","param":"max_tokens",'
        b'"code":"unsupported_parameter"}}',
        "bad request",
    ),
    Case(
        "openai file of another account",
        404,
        b'{"error":{"message":"No such File object: file-1","type":"invalid_request_error","param":"id","code":null}}',
        "not offered",
    ),
    Case(
        "openai server error",
        500,
        b'{"error":{"message":"The server had an error while processing your request. Sorry about that!",'
        b'"type":"server_error","param":null,"code":null}}',
        "provider error",
    ),
    Case(
        "openai overloaded",
        503,
        b'{"error":{"message":"The engine is currently overloaded","type":"service_unavailable_error",'
        b'"code":"server_is_overloaded"}}',
        "overloaded",
    ),
    Case(
        "openai responses failed in a 200",
        200,
        b'{"id":"resp_1","object":"response","status":"failed","error":{"code":"server_error","message":"An error"},'
        b'"output":[]}',
        "provider error",
        500,
    ),
    Case(
        "openai responses stream: failed",
        200,
        b'event: response.failed\ndata: {"type":"response.failed","sequence_number":0,"response":{"id":"resp_1",'
        b'"status":"failed","error":{"code":"rate_limit_exceeded","message":"Rate limit reached"}}}\n\n',
        "rate limited",
        429,
        SSE,
    ),
    Case(
        "openai responses stream: error",
        200,
        b'event: error\ndata: {"type":"error","code":"server_error","message":"An error","param":null,'
        b'"sequence_number":1}\n\n',
        "provider error",
        500,
        SSE,
    ),
    Case(
        "openai chat stream: error",
        200,
        b'data: {"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}\n\n',
        "provider error",
        500,
        SSE,
    ),
]

ANTHROPIC = [
    Case(
        "anthropic overloaded",
        529,
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}',
        "overloaded",
    ),
    Case(
        "anthropic rate",
        429,
        b'{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization\'s rate'
        b' limit of 40,000 input tokens per minute."}}',
        "rate limited",
    ),
    Case(
        "anthropic monthly limit",
        429,
        b'{"type":"error","error":{"type":"rate_limit_error","message":"Your organization has reached its monthly limit",'
        b'"details":{"error_code":"enforced_spend_limit_reached"}}}',
        "out of credit",
    ),
    Case(
        "anthropic no credit",
        400,
        b'{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the'
        b' Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}',
        "out of credit",
    ),
    Case(
        "anthropic own limit",
        400,
        b'{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage'
        b' limits. You will regain access on 2026-12-01 at 00:00 UTC."}}',
        "out of credit",
    ),
    Case(
        "anthropic own workspace limit",
        400,
        b'{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified workspace API'
        b' usage limits."}}',
        "out of credit",
    ),
    Case(
        "anthropic billing",
        402,
        b'{"type":"error","error":{"type":"billing_error","message":"There is an issue with your billing"}}',
        "out of credit",
    ),
    Case(
        "anthropic key",
        401,
        b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}',
        "key refused",
    ),
    Case(
        "anthropic permission",
        403,
        b'{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the'
        b' specified resource."}}',
        "key refused",
    ),
    Case(
        "anthropic model",
        404,
        b'{"type":"error","error":{"type":"not_found_error","message":"model: claude-9"}}',
        "model not served",
    ),
    Case(
        "anthropic path",
        404,
        b'{"type":"error","error":{"type":"not_found_error","message":"The requested resource could not be found."}}',
        "not offered",
    ),
    Case(
        "anthropic prompt",
        400,
        b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000'
        b' maximum"}}',
        "context too long",
    ),
    Case(
        "anthropic prompt and answer",
        400,
        b'{"type":"error","error":{"type":"invalid_request_error","message":"input length and `max_tokens` exceed context'
        b' limit: 178959 + 64000 > 200000"}}',
        "context too long",
    ),
    Case(
        "anthropic bytes",
        413,
        b'{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}',
        "context too long",
    ),
    Case(
        "anthropic filter",
        400,
        b'{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}',
        "content filter",
    ),
    Case(
        "anthropic bad request",
        400,
        b'{"type":"error","error":{"type":"invalid_request_error","message":"messages: at least one message is required"}}',
        "bad request",
    ),
    Case(
        "anthropic internal",
        500,
        b'{"type":"error","error":{"type":"api_error","message":"Internal"}}',
        "provider error",
    ),
    Case(
        "anthropic timeout",
        504,
        b'{"type":"error","error":{"type":"timeout_error","message":"Timed out"}}',
        "provider unavailable",
    ),
    Case(
        "anthropic conflict",
        409,
        b'{"type":"error","error":{"type":"conflict_error","message":"Conflict"}}',
        "conflict",
    ),
    Case(
        "anthropic stream: overloaded",
        200,
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
        "overloaded",
        529,
        SSE,
    ),
    Case(
        "anthropic stream: error after a ping",
        200,
        b'event: ping\ndata: {"type": "ping"}\n\nevent: error\ndata: {"type":"error","error":{"type":"api_error",'
        b'"message":"Internal"}}\n\n',
        "provider error",
        500,
        SSE,
    ),
]

GOOGLE = [
    Case(
        "google per minute",
        429,
        b'[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.",'
        b'"status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":'
        b'[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier","quotaValue":"5"}]},'
        b'{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"46s"}]}}]',
        "rate limited",
    ),
    Case(
        "google per day",
        429,
        b'[{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED","details":'
        b'[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},{"retryDelay":"35640s"}]}}]',
        "out of credit",
    ),
    Case(
        "google key",
        400,
        b'[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT",'
        b'"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}]',
        "key refused",
    ),
    Case(
        "google key expired, no details",
        400,
        b'{"error":{"code":400,"message":"API key expired. Please renew the API key.","status":"INVALID_ARGUMENT"}}',
        "key refused",
    ),
    Case(
        "google overloaded",
        503,
        b'[{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}]',
        "overloaded",
    ),
    Case(
        "google internal", 500, b'[{"error":{"code":500,"message":"Internal","status":"INTERNAL"}}]', "provider error"
    ),
    Case(
        "google model",
        404,
        b'[{"error":{"code":404,"message":"models/gemini-9 is not found for API version v1main, or is not supported for'
        b' generateContent.","status":"NOT_FOUND"}}]',
        "model not served",
    ),
    Case(
        "google context",
        400,
        b'[{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed'
        b' (1048576).","status":"INVALID_ARGUMENT"}}]',
        "context too long",
    ),
    Case(
        "google region",
        400,
        b'[{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}]',
        "model not served",
    ),
    Case(
        "google array in a 200 stream",
        200,
        b'data: [{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}]\n\n',
        "overloaded",
        503,
        SSE,
    ),
    Case(
        "google bare array in a 200",
        200,
        b'[{"error":{"code":429,"message":"Resource exhausted","status":"RESOURCE_EXHAUSTED"}}]',
        "rate limited",
        429,
    ),
]

MISTRAL_AND_VLLM = [
    Case(
        "mistral rate",
        429,
        b'{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300",'
        b'"raw_status_code":429}',
        "rate limited",
    ),
    Case(
        "mistral capacity",
        429,
        b'{"object":"error","message":"Service tier capacity exceeded for this model.","type":"invalid_request_error",'
        b'"param":null,"code":null}',
        "rate limited",
    ),
    Case(
        "mistral extra field",
        422,
        b'{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","store"],"msg":"Extra inputs are'
        b' not permitted","input":false}]},"type":"invalid_request_error","param":null,"code":null}',
        "bad request",
    ),
    Case(
        "mistral context",
        400,
        b'{"object":"error","message":"Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768'
        b' maximum context length","type":"invalid_request_error","param":null,"code":null}',
        "context too long",
    ),
    Case("mistral key", 401, b'{"detail":"Unauthorized"}', "key refused"),
    Case(
        "mistral error in a stream",
        200,
        b'data: {"object":"error","message":"Service unavailable","type":"service_unavailable","code":null}\n\n',
        "overloaded",
        503,
        SSE,
    ),
    Case(
        "vllm context",
        400,
        b'{"object":"error","message":"This model\'s maximum context length is 16384 tokens. However, you requested 122946'
        b' tokens.","type":"BadRequestError","param":null,"code":400}',
        "context too long",
    ),
    Case(
        "vllm context, new shape",
        400,
        b'{"error":{"message":"The prompt is too long: maximum context length is 4096","type":"BadRequestError",'
        b'"param":null,"code":400}}',
        "context too long",
    ),
    Case(
        "vllm model",
        404,
        b'{"object":"error","message":"The model `llama` does not exist.","type":"NotFoundError","param":null,"code":404}',
        "model not served",
    ),
    Case(
        "vllm error in a stream",
        200,
        b'data: {"object":"error","message":"EngineCore encountered an issue","type":"InternalServerError","code":500}\n\n',
        "provider error",
        500,
        SSE,
    ),
    Case(
        "llama.cpp context",
        400,
        b'{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it",'
        b'"type":"exceed_context_size_error","n_prompt_tokens":9000,"n_ctx":4096}}',
        "context too long",
    ),
    Case("ollama model", 404, b'{"error":"model \'llama3\' not found, try pulling it first"}', "model not served"),
]

OPENROUTER = [
    Case(
        "openrouter upstream down",
        502,
        b'{"error":{"code":502,"message":"Provider returned error","metadata":{"provider_name":"X"}}}',
        "provider unavailable",
    ),
    Case(
        "openrouter error in a 200",
        200,
        b'{"error":{"message":"Provider returned error","code":502,"metadata":{"provider_name":"X","raw":"down"}},'
        b'"user_id":"user_1"}',
        "provider unavailable",
        502,
    ),
    Case(
        "openrouter rate in a 200",
        200,
        b'{"error":{"message":"Rate limit exceeded","code":429},"user_id":"user_1"}',
        "rate limited",
        429,
    ),
    Case(
        "openrouter error in a choice",
        200,
        b'{"id":"gen-1","object":"chat.completion","choices":[{"index":0,"finish_reason":"error","message":{"role":'
        b'"assistant","content":""},"error":{"code":503,"message":"Overloaded"}}]}',
        "overloaded",
        503,
    ),
    Case(
        "openrouter error in a stream, after comments",
        200,
        b': OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\ndata: {"id":"gen-1","object":"chat.completion.chunk",'
        b'"provider":"X","error":{"code":"server_error","message":"Provider disconnected"},"choices":[{"index":0,'
        b'"delta":{"content":""},"finish_reason":"error"}]}\n\n',
        "provider error",
        500,
        SSE,
    ),
    Case(
        "openrouter context behind its own words",
        400,
        b'{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\\"error\\":{\\"message\\":\\"This'
        b' model\'s maximum context length is 8192 tokens\\"}}","provider_name":"X"}}}',
        "context too long",
    ),
    Case(
        "openrouter moderation",
        403,
        b'{"error":{"code":403,"message":"Input was flagged","metadata":{"reasons":["violence"],"flagged_input":"...",'
        b'"provider_name":"X"}}}',
        "content filter",
    ),
    Case("openrouter credits", 402, b'{"error":{"code":402,"message":"Insufficient credits"}}', "out of credit"),
    Case(
        "openrouter in flight",
        402,
        b'{"error":{"code":402,"message":"Budget in use","metadata":{"limit_source":"openrouter_in_flight_budget"}}}',
        "rate limited",
    ),
    Case(
        "openrouter model",
        400,
        b'{"error":{"message":"foo/bar is not a valid model ID","code":400},"user_id":"user_1"}',
        "model not served",
    ),
    Case(
        "openrouter no endpoint",
        404,
        b'{"error":{"message":"No endpoints found for foo/bar.","code":404}}',
        "model not served",
    ),
    Case("openrouter timeout", 408, b'{"error":{"code":408,"message":"Timed out"}}', "timeout at the provider", 504),
]

AZURE = [
    Case(
        "azure filter",
        400,
        b'{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI\'s content management'
        b' policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":'
        b'"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}}',
        "content filter",
    ),
    Case(
        "azure filter, inner code alone",
        400,
        b'{"error":{"code":"400","message":"Blocked","innererror":{"code":"ResponsibleAIPolicyViolation"}}}',
        "content filter",
    ),
    Case(
        "azure high demand",
        429,
        b'{"error":{"code":"429","message":"The system is currently experiencing high demand and cannot process your'
        b' request. Please retry after 20 seconds."}}',
        "rate limited",
    ),
    Case(
        "azure deployment",
        404,
        b'{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}',
        "model not served",
    ),
    Case(
        "azure key",
        401,
        b'{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}',
        "key refused",
    ),
    Case(
        "azure resource",
        404,
        b'{"error":{"code":"404","message":"Resource not found"}}',
        "not offered",
    ),
]

OTHERS = [
    Case(
        "deepseek balance",
        402,
        b'{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}',
        "out of credit",
    ),
    Case(
        "deepseek key",
        401,
        b'{"error":{"message":"Authentication Fails (no such user)","type":"authentication_error","param":null,'
        b'"code":"invalid_request_error"}}',
        "key refused",
    ),
    Case(
        "deepseek model",
        400,
        b'{"error":{"message":"Model Not Exist","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}',
        "model not served",
    ),
    Case(
        "deepseek filter",
        400,
        b'{"error":{"message":"Content Exists Risk","type":"invalid_request_error","param":null,'
        b'"code":"invalid_request_error"}}',
        "content filter",
    ),
    Case("deepseek busy", 503, b'{"error":{"message":"Server overloaded","type":"unknown_error"}}', "overloaded"),
    Case(
        "together context as 403",
        403,
        b'{"error":{"message":"Input token count + max_tokens parameter must be less than the context length of the model'
        b' being queried.","type":"invalid_request_error","param":"max_tokens","code":null}}',
        "context too long",
    ),
    Case(
        "together context as 400",
        400,
        b'{"error":{"message":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 80125",'
        b'"type":"invalid_request_error","param":"max_tokens","code":null}}',
        "context too long",
    ),
    Case(
        "groq per day",
        429,
        b'{"error":{"message":"Rate limit reached for model `llama` on tokens per day (TPD): Limit 100000. Please try again'
        b' in 9m38.016s.","type":"tokens","code":"rate_limit_exceeded"}}',
        "rate limited",
    ),
    Case(
        "groq one request above the limit",
        413,
        b'{"error":{"message":"Request too large for model `llama` on tokens per minute (TPM): Limit 6000, Requested 6294",'
        b'"type":"tokens","code":"rate_limit_exceeded"}}',
        "too large for the rate limit",
    ),
    Case("groq flex", 498, b'{"error":{"message":"Flex tier","code":"capacity_exceeded"}}', "rate limited"),
    Case(
        "groq decommissioned",
        400,
        b'{"error":{"message":"The model `mixtral` has been decommissioned and is no longer supported.",'
        b'"type":"invalid_request_error","code":"model_decommissioned"}}',
        "model not served",
    ),
    Case(
        "fireworks model",
        404,
        b'{"error":{"object":"error","type":"invalid_request_error","message":"Model not found, inaccessible, and/or not'
        b' deployed"}}',
        "model not served",
    ),
    Case("fireworks suspended", 412, b'{"error":{"message":"Account acme is suspended, pay"}}', "out of credit"),
    Case("fireworks other 412", 412, b'{"error":{"message":"LoRA failed to load"}}', "bad request"),
    Case(
        "minimax balance in a 200",
        200,
        b'{"id":"1","choices":null,"created":1,"model":"M","base_resp":{"status_code":1008,"status_msg":"insufficient"}}',
        "out of credit",
        402,
    ),
    Case(
        "minimax rate in a 200",
        200,
        b'{"base_resp":{"status_code":1002,"status_msg":"rate limit"}}',
        "rate limited",
        429,
    ),
    Case(
        "minimax filter in a 200",
        200,
        b'{"base_resp":{"status_code":1026,"status_msg":"new_sensitive"}}',
        "content filter",
        400,
    ),
    Case(
        "minimax unheard of",
        200,
        b'{"base_resp":{"status_code":7777,"status_msg":"?"}}',
        "provider unavailable",
        502,
    ),
    Case("modelslab key in a 200", 200, b'{"status":"error","message":"Invalid API key"}', "key refused", 401),
    Case("modelslab spelt as it is", 200, b'{"status":"error","messege":"prompt is required"}', "bad request", 400),
    Case("ollama error in a 200", 200, b'{"error":"an unknown thing happened"}', "provider unavailable", 502),
    Case(
        "cloudflare page",
        502,
        b"<html><head><title>502 Bad Gateway</title></head></html>",
        "provider unavailable",
        None,
        HTML,
    ),
    Case("cloudflare 524", 524, b"error code: 524", "provider unavailable", None, TEXT),
    Case(
        "nginx 400 page", 400, b"<html><body>400 The plain HTTP request</body></html>", "refused on the way", None, HTML
    ),
    Case("portal", 200, b"<!DOCTYPE html><html><body>Log in</body></html>", "HTML instead of an answer", 502, HTML),
    Case("page under the name of JSON", 200, b"  <!doctype HTML><html>", "HTML instead of an answer", 502),
    Case("page in a stream", 200, b"<html>Log in</html>", "HTML instead of an answer", 502, SSE),
    Case("nothing", 200, b"", "empty answer", 502),
    Case("white space", 200, b" \r\n\r\n ", "empty answer", 502),
    Case("stream of nothing", 200, b": hello\n\n: hello\n\n", "empty answer", 502, SSE),
    Case("stream of its end", 200, b"data: [DONE]\n\n", "empty answer", 502, SSE),
    Case(
        "JSON in the place of a stream",
        200,
        b'{"error":{"message":"x","type":"server_error"}}',
        "provider error",
        500,
        SSE,
    ),
    Case("empty 400", 400, b"", "bad request"),
    Case("empty 503", 503, b"", "overloaded"),
    Case(
        "error of a 400 in a stream",
        400,
        b'data: {"error":{"code":"context_length_exceeded"}}\n\n',
        "context too long",
        None,
        SSE,
    ),
]

CASES = [*OPENAI, *ANTHROPIC, *GOOGLE, *MISTRAL_AND_VLLM, *OPENROUTER, *AZURE, *OTHERS]
