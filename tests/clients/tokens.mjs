// How many tokens each text has: a JSON array of texts on standard input, a JSON array of numbers out.
import { encode } from "gpt-tokenizer";

let text = "";
for await (const part of process.stdin) text += part;
console.log(JSON.stringify(JSON.parse(text).map((each) => encode(each).length)));
