"""What the conformance suite asks a server to have beside its own: tools, resources, prompts with set names.

Mounted on our server for that suite alone: it tries the protocol through them, over our transports.
"""

import asyncio
import base64
import json
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitationCapability,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequiredResult,
    JSONRPCMessage,
    ListRootsRequest,
    SamplingCapability,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    Tool,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel, Field, WithJsonSchema

# One red point, and a tenth of no sound.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = base64.b64encode(
    b"RIFF\x26\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00"
    b"\x02\x00\x10\x00data\x02\x00\x00\x00\x00\x00"
).decode()
PAUSE_S = 0.05

SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


class Remembered(EventStore):
    """Events by id, for streams that are taken up again."""

    def __init__(self) -> None:
        self._events: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        at = int(last_event_id)
        if not 0 < at <= len(self._events):
            return None
        stream = self._events[at - 1][0]
        for number, (of_stream, message) in enumerate(self._events[at:], at + 1):
            if of_stream == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


def add_fixtures(mcp: MCPServer) -> None:
    """All of them; to be called behind `Transports`, whose subscriptions know of our pages alone."""
    for add in (add_contents, add_talkers, add_askers, add_inputs, add_resources, add_prompts, add_handlers):
        add(mcp)
    with_schema(mcp)


def text(words: str) -> TextContent:
    return TextContent(type="text", text=words)


def embedded(uri: str, mime_type: str, words: str) -> EmbeddedResource:
    return EmbeddedResource(
        type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    )


def image() -> ImageContent:
    return ImageContent(type="image", data=PNG, mime_type="image/png")


def add_contents(mcp: MCPServer) -> None:
    @mcp.tool()
    def test_simple_text() -> str:
        """Text."""
        return "This is a simple text response for testing."

    @mcp.tool()
    def test_image_content() -> list[ImageContent]:
        """An image."""
        return [image()]

    @mcp.tool()
    def test_audio_content() -> list[AudioContent]:
        """Sound."""
        return [AudioContent(type="audio", data=WAV, mime_type="audio/wav")]

    @mcp.tool()
    def test_embedded_resource() -> list[EmbeddedResource]:
        """A resource."""
        return [embedded("test://embedded-resource", "text/plain", "An embedded resource.")]

    @mcp.tool()
    def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
        """Several kinds at once."""
        mixed = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
        return [text("Multiple content types test:"), image(), mixed]

    @mcp.tool()
    def test_error_handling() -> str:
        """An error."""
        raise ToolFails("This tool intentionally returns an error for testing")

    @mcp.tool()
    def test_header_values(
        region: Annotated[str, WithJsonSchema({"type": "string", "x-mcp-header": "Region"})],
    ) -> str:
        """A parameter that is mirrored in a header."""
        return region


class ToolFails(Exception):
    """On purpose."""


def add_talkers(mcp: MCPServer) -> None:
    async def say(ctx: Context, words: str) -> None:
        await ctx.session.send_log_message("info", words)

    @mcp.tool()
    async def test_tool_with_logging(ctx: Context) -> str:
        """Three log messages."""
        for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await say(ctx, words)
            await asyncio.sleep(PAUSE_S)
        return "logged"

    @mcp.tool()
    async def test_logging_tool(ctx: Context) -> str:
        """A log message, to those who asked for some."""
        await say(ctx, "logged")
        return "logged"

    @mcp.tool()
    async def test_tool_with_progress(ctx: Context) -> str:
        """Progress in three steps."""
        for done in (1, 50, 100):
            await ctx.report_progress(done, 100, f"{done} of 100")
            await asyncio.sleep(PAUSE_S)
        return "done"

    @mcp.tool()
    async def test_reconnection(ctx: Context) -> str:
        """Ends its stream in the middle."""
        await ctx.close_sse_stream()
        await asyncio.sleep(4 * PAUSE_S)
        return "taken up again"

    @mcp.tool()
    async def test_trigger_tool_change(ctx: Context) -> str:
        """Says that the tools have changed."""
        await ctx.notify_tools_changed()
        return "said"

    @mcp.tool()
    async def test_trigger_prompt_change(ctx: Context) -> str:
        """Says that the prompts have changed."""
        await ctx.notify_prompts_changed()
        return "said"


class Answer(BaseModel):
    username: str = Field(description="who you are")
    email: str = ""


class Defaults(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Annotated[str, Field(json_schema_extra={"enum": ["active", "inactive", "pending"]})] = "active"
    verified: bool = True


def titled(*words: str) -> list[dict[str, str]]:
    return [{"const": word, "title": word.title()} for word in words]


class Choices(BaseModel):
    untitledSingle: Annotated[
        str, WithJsonSchema({"type": "string", "enum": ["option1", "option2", "option3"]})
    ]
    titledSingle: Annotated[
        str, WithJsonSchema({"type": "string", "oneOf": titled("value1", "value2", "value3")})
    ]
    legacyEnum: Annotated[
        str,
        WithJsonSchema(
            {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]}
        ),
    ]
    untitledMulti: Annotated[
        list[str],
        WithJsonSchema({"type": "array", "items": {"type": "string", "enum": ["option1", "option2"]}}),
    ]
    titledMulti: Annotated[
        list[str], WithJsonSchema({"type": "array", "items": {"anyOf": titled("value1", "value2")}})
    ]


def add_askers(mcp: MCPServer) -> None:
    @mcp.tool()
    async def test_sampling(prompt: str, ctx: Context) -> str:
        """Asks the client's model."""
        result = await ctx.session.create_message(
            [SamplingMessage(role="user", content=text(prompt))], max_tokens=100
        )
        return f"LLM response: {result.content}"

    async def elicited(ctx: Context, words: str, schema: type[BaseModel]) -> str:
        result = await ctx.elicit(words, schema)
        data = getattr(result, "data", None)
        content = "{}" if data is None else data.model_dump_json()
        return f"Elicitation completed: action={result.action}, content={content}"

    @mcp.tool()
    async def test_elicitation(message: str, ctx: Context) -> str:
        """Asks the person."""
        return await elicited(ctx, message, Answer)

    @mcp.tool()
    async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
        """Asks with defaults."""
        return await elicited(ctx, "Please look through", Defaults)

    @mcp.tool()
    async def test_elicitation_sep1330_enums(ctx: Context) -> str:
        """Asks for choices."""
        return await elicited(ctx, "Please choose", Choices)


def asked(message: str, field: str, kind: Literal["string", "boolean"] = "string") -> ElicitRequest:
    schema: Any = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sampled(words: str, most: int) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=text(words))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=most))


def given(ctx: Context, *names: str) -> bool:
    """Whether the answers are there and are ones."""
    answers = ctx.input_responses or {}
    return all(answers.get(name) is not None for name in names)


Asked = str | InputRequiredResult


def add_inputs(mcp: MCPServer) -> None:
    """Questions that come back with the call, of 2026."""

    @mcp.tool(structured_output=False)
    async def test_input_required_result_elicitation(ctx: Context) -> Asked:
        """Asks for a name."""
        answer = (ctx.input_responses or {}).get("user_name")
        if answer is None:
            return InputRequiredResult(input_requests={"user_name": asked("What is your name?", "name")})
        content = getattr(answer, "content", None) or {}
        return f"Hello, {content.get('name', 'you')}!" if isinstance(content, dict) else "Hello!"

    @mcp.tool(structured_output=False)
    async def test_input_required_result_sampling(ctx: Context) -> Asked:
        """Asks the model."""
        if not given(ctx, "capital_question"):
            question = sampled("What is the capital of France?", 100)
            return InputRequiredResult(input_requests={"capital_question": question})
        return f"It says: {(ctx.input_responses or {})['capital_question']}"

    @mcp.tool(structured_output=False)
    async def test_input_required_result_list_roots(ctx: Context) -> Asked:
        """Asks for roots."""
        if not given(ctx, "client_roots"):
            return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})
        return f"Roots: {(ctx.input_responses or {})['client_roots']}"

    @mcp.tool(structured_output=False)
    async def test_input_required_result_request_state(ctx: Context) -> Asked:
        """Asks, and knows itself again."""
        if ctx.request_state != "asked" or not given(ctx, "confirm"):
            confirm = {"confirm": asked("Please confirm", "ok", "boolean")}
            return InputRequiredResult(input_requests=confirm, request_state="asked")
        return "state-ok"

    @mcp.tool(structured_output=False)
    async def test_input_required_result_tampered_state(ctx: Context) -> Asked:
        """The same; what is not its own state is refused before it comes here."""
        return await test_input_required_result_request_state(ctx)

    @mcp.tool(structured_output=False)
    async def test_input_required_result_multiple_inputs(ctx: Context) -> Asked:
        """Asks everything at once."""
        if given(ctx, "user_name", "greeting", "client_roots"):
            return "all there"
        questions = {
            "user_name": asked("What is your name?", "name"),
            "greeting": sampled("Generate a greeting", 50),
            "client_roots": ListRootsRequest(),
        }
        return InputRequiredResult(input_requests=questions, request_state="asked")

    @mcp.tool(structured_output=False)
    async def test_input_required_result_multi_round(ctx: Context) -> Asked:
        """Asks twice."""
        if ctx.request_state == "first" and given(ctx, "step1"):
            second = {"step2": asked("Step 2: What is your favorite color?", "color")}
            return InputRequiredResult(input_requests=second, request_state="second")
        if ctx.request_state == "second" and given(ctx, "step2"):
            return "both there"
        first = {"step1": asked("Step 1: What is your name?", "name")}
        return InputRequiredResult(input_requests=first, request_state="first")

    @mcp.tool(structured_output=False)
    async def test_input_required_result_capabilities(ctx: Context) -> Asked:
        """Asks only what the client can answer."""
        questions: dict[str, Any] = {}
        if able(ctx, ClientCapabilities(elicitation=ElicitationCapability())):
            questions["user_name"] = asked("What is your name?", "name")
        if able(ctx, ClientCapabilities(sampling=SamplingCapability())):
            questions["greeting"] = sampled("Generate a greeting", 50)
        return InputRequiredResult(input_requests=questions) if questions else "nothing to ask"

    @mcp.tool(structured_output=False)
    async def test_streaming_elicitation(ctx: Context) -> Asked:
        """Asks on its own stream."""
        await ctx.report_progress(1)
        return InputRequiredResult(input_requests={"user_name": asked("What is your name?", "name")})

    @mcp.tool()
    async def test_missing_capability(ctx: Context) -> str:
        """Needs the client's model."""
        if not able(ctx, ClientCapabilities(sampling=SamplingCapability())):
            needed: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "sampling is needed", needed)
        return "it could be asked"


def able(ctx: Context, capability: ClientCapabilities) -> bool:
    is_able: bool = ctx.session.check_client_capability(capability)
    return is_able


def add_resources(mcp: MCPServer) -> None:
    @mcp.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @mcp.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        return base64.b64decode(PNG)

    @mcp.resource("test://watched-resource", mime_type="text/plain")
    def watched() -> str:
        return "watched"

    @mcp.resource("test://template/{id}/data", mime_type="application/json")
    def from_template(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def add_prompts(mcp: MCPServer) -> None:
    @mcp.prompt()
    def test_simple_prompt() -> str:
        """Words."""
        return "This is a simple prompt for testing."

    @mcp.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """Words with two arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @mcp.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
        """A resource and words."""
        about = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
        return [UserMessage(about), UserMessage("Please process the embedded resource above.")]

    @mcp.prompt()
    def test_prompt_with_image() -> list[UserMessage]:
        """An image and words."""
        return [UserMessage(image()), UserMessage("Please analyze the image above.")]

    @mcp.prompt()
    async def test_input_required_result_prompt(ctx: Context) -> Any:
        """Asks before it is one."""
        if not given(ctx, "user_context"):
            context = asked("What context should the prompt use?", "context")
            return InputRequiredResult(input_requests={"user_context": context})
        return "A prompt in context."


def add_handlers(mcp: MCPServer) -> None:
    """Methods that the suite wants served whatever they are about."""

    async def served(ctx: Any, params: Any) -> EmptyResult:
        return EmptyResult()

    serve = mcp._lowlevel_server.add_request_handler
    serve("logging/setLevel", SetLevelRequestParams, served)
    serve("resources/subscribe", SubscribeRequestParams, served)
    serve("resources/unsubscribe", UnsubscribeRequestParams, served)


def with_schema(mcp: MCPServer) -> None:
    """A tool whose schema is listed as it is written."""

    @mcp.tool()
    def json_schema_2020_12_tool(name: str = "") -> str:
        """Takes a rich schema."""
        return name

    listed = mcp.list_tools

    async def list_tools() -> list[Tool]:
        return [
            tool.model_copy(update={"input_schema": SCHEMA_2020_12})
            if tool.name == "json_schema_2020_12_tool"
            else tool
            for tool in await listed()
        ]

    mcp.list_tools = list_tools  # type: ignore[method-assign]
