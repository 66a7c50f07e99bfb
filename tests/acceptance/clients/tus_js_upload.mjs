// Uploads a file with tus-js-client, resuming what an earlier run with the same storage file began.
//
// Usage: node tus_js_upload.mjs ENDPOINT KEY FILE STORAGE PATCH_BYTES [PARALLEL [RETRY_MS]]
// PATCH_BYTES 0: the whole file in one PATCH. PARALLEL: parts that go at once and are joined.
// RETRY_MS: how long it waits before it tries again.
// Prints the upload's URL.

import { createReadStream } from 'node:fs'
import { basename } from 'node:path'
import { FileUrlStorage, Upload } from 'tus-js-client'

const [endpoint, key, file, storage, patchBytes, parallel, retryMs] = process.argv.slice(2)

const upload = new Upload(createReadStream(file), {
  endpoint,
  headers: { Authorization: `Bearer ${key}` },
  chunkSize: Number(patchBytes) || Infinity,
  parallelUploads: Number(parallel ?? 1),
  metadata: { filename: basename(file), filetype: 'image/x-test' },
  retryDelays: Array(30).fill(Number(retryMs ?? 0)),
  urlStorage: new FileUrlStorage(storage),
  onSuccess: () => console.log(upload.url),
  onError: (error) => {
    console.error(String(error))
    process.exitCode = 1
  },
})

const [previous] = await upload.findPreviousUploads()
if (previous) upload.resumeFromPreviousUpload(previous)
upload.start()
