// What the TypeScript SDK's client sees of a server: node typescript.mjs URL sse|mcp; prints one JSON object.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ResourceUpdatedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

const [url, kind] = process.argv.slice(2);
const address = new URL(`${url}/${kind}`);
const transport = kind === "sse" ? new SSEClientTransport(address) : new StreamableHTTPClientTransport(address);
const client = new Client({ name: "typescript", version: "0" });
const progress = [];
const news = new Promise((heard) =>
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, (message) => heard(message.params.uri)),
);

await client.connect(transport);
const watched = "tapedeck://ETHUSDT/profile/24h";
await client.subscribeResource({ uri: watched });
const tools = await client.listTools();
const profile = await client.callTool(
  { name: "get_volume_profile", arguments: { symbol: "btc/usdt", duration_hours: 24 } },
  undefined,
  { onprogress: (told) => progress.push(told.progress) },
);
const refused = await client.callTool({ name: "get_volume_profile", arguments: { symbol: "NOSUCH" } });
const resource = await client.readResource({ uri: "tapedeck://BTCUSDT/profile/24h" });
const prompt = await client.getPrompt({ name: "morning_brief", arguments: { symbol: "BTCUSDT" } });
const completed = await client.complete({
  ref: { type: "ref/prompt", name: "morning_brief" },
  argument: { name: "symbol", value: "eth" },
});
const updated = await Promise.race([news, new Promise((late) => setTimeout(late, 20000, null))]);
console.log(
  JSON.stringify({
    tools: tools.tools.map((tool) => tool.name),
    profile: profile.structuredContent.summary,
    progress,
    refused: [refused.isError, refused.content[0].text],
    resource: resource.contents[0].text,
    prompt: prompt.messages[0].content.text,
    completed: completed.completion.values,
    updated,
  }),
);
await client.close();
process.exit(0);
