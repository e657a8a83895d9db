// A destination: writes each request to stdout as a line of JSON, and answers with the request as it was seen.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const [address, port, pem, idHeader] = process.argv.slice(2);
const pair = readFileSync(pem);
createServer({ cert: pair, key: pair, maxHeaderSize: 64 << 10, keepAliveTimeout: 60_000 }, (request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const body = Buffer.concat(parts).toString("latin1");
    const fields = request.rawHeaders;
    console.log(JSON.stringify({
      Method: request.method, Target: request.url, Proto: `HTTP/${request.httpVersion}`, Host: request.headers.host, Fields: fields, Body: body,
    }));
    let seen = `${request.method} ${request.url}\n`;
    for (let i = 0; i + 1 < fields.length; i += 2) seen += `${fields[i]}: ${fields[i + 1]}\n`;
    seen = Buffer.from(`${seen}\n${body}`, "latin1");
    response.writeHead(200, { [idHeader]: request.headers[idHeader.toLowerCase()] ?? "", "Content-Length": seen.length });
    response.end(seen);
  });
}).listen(Number(port), address);
