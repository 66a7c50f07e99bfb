// Uploads a file with Uppy in Node, resuming what an earlier run with the same storage file began.
//
// Usage: node uppy_upload.mjs ENDPOINT KEY FILE STORAGE PATCH_BYTES [PARALLEL]
// PATCH_BYTES 0: the whole file in one PATCH. PARALLEL: parts that go at once and are joined.
// Prints the upload's URL.

import { File } from 'node:buffer'
import { createReadStream } from 'node:fs'
import { basename } from 'node:path'
import { Uppy } from '@uppy/core'
import Tus from '@uppy/tus'
import { FileUrlStorage } from 'tus-js-client'

globalThis.File ??= File // Node 18 has it, but not by itself

const [endpoint, key, file, storage, patchBytes, parallel] = process.argv.slice(2)

const uppy = new Uppy().use(Tus, {
  endpoint,
  headers: { Authorization: `Bearer ${key}` },
  chunkSize: Number(patchBytes) || Infinity,
  parallelUploads: Number(parallel ?? 1),
  retryDelays: Array(30).fill(0),
  urlStorage: new FileUrlStorage(storage),
})
uppy.addFile({ name: basename(file), type: 'image/x-test', data: createReadStream(file) })

const { successful, failed } = await uppy.upload()
for (const { uploadURL } of successful) console.log(uploadURL)
for (const { error } of failed) {
  console.error(error)
  process.exitCode = 1
}
