// Reads a shard of latents without latentcache: `node read_a_tar.mjs SHARD.tar` prints, for each
// sample, its key, and name, dtype, shape and first value of each tensor. See docs/format.md.
import { readFileSync } from "node:fs";

const half = (bits) => {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
};
const first = {
  F16: (bytes) => half(bytes.readUInt16LE(0)),
  BF16: (bytes) => Buffer.from([0, 0, bytes[0], bytes[1]]).readFloatLE(0),
  F32: (bytes) => bytes.readFloatLE(0),
  I32: (bytes) => bytes.readInt32LE(0),
  U16: (bytes) => bytes.readUInt16LE(0),
};

const tar = readFileSync(process.argv[2]);
for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
  const name = tar.toString("utf8", at, at + 100).replace(/\0.*$/s, "");
  const size = parseInt(tar.toString("ascii", at + 124, at + 136), 8);
  const member = tar.subarray(at + 512, at + 512 + size);
  const headerBytes = Number(member.readBigUInt64LE(0));
  const header = JSON.parse(member.toString("utf8", 8, 8 + headerBytes));
  const tensors = Object.entries(header).map(([field, { dtype, shape, data_offsets: [start] }]) => {
    const value = first[dtype]?.(member.subarray(8 + headerBytes + start));
    return `${field} ${dtype} [${shape}] ${value?.toPrecision(6)}`;
  });
  console.log(name.split(".")[0], tensors.join("; "));
  at += 512 + Math.ceil(size / 512) * 512;
}
