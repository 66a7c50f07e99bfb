// A page that uploads what it is told to. It takes its job from /job, the files from /files/, and
// posts what came of it to /result: the uploads' URLs by file name, or the error.
//
// `reload_after_chunks`: once that many PATCHes of a file were answered, the page reloads itself, as
// a user does; it then finds its uploads again in the browser's storage.

import { Uppy } from '@uppy/core'
import Tus from '@uppy/tus'
import { Upload } from 'tus-js-client'

const job = await (await fetch('/job')).json()

function options() {
  let chunks = 0
  return {
    endpoint: job.endpoint,
    headers: { Authorization: `Bearer ${job.key}` },
    chunkSize: job.patch_bytes || Infinity,
    parallelUploads: job.parallel,
    retryDelays: Array(job.retries).fill(0),
    onChunkComplete: () => {
      chunks += 1
      if (chunks === job.reload_after_chunks && !sessionStorage.reloaded) {
        sessionStorage.reloaded = true
        location.reload()
      }
    },
  }
}

async function file(name) {
  const data = await (await fetch(`/files/${name}`)).blob()
  return new File([data], name, { type: 'image/x-test', lastModified: 0 })
}

async function withUppy(files) {
  const uppy = new Uppy().use(Tus, options())
  for (const one of files) uppy.addFile({ name: one.name, type: one.type, data: one })
  const { successful, failed } = await uppy.upload()
  for (const { error } of failed) throw new Error(error)
  return successful.map(({ name, uploadURL }) => [name, uploadURL])
}

function withTusJs(files) {
  return Promise.all(
    files.map(async (one) => {
      const metadata = { filename: one.name, filetype: one.type }
      const url = await new Promise((resolve, reject) => {
        const upload = new Upload(one, {
          ...options(),
          metadata,
          onSuccess: () => resolve(upload.url),
          onError: reject,
        })
        upload.findPreviousUploads().then(([previous]) => {
          if (previous) upload.resumeFromPreviousUpload(previous)
          upload.start()
        })
      })
      return [one.name, url]
    }),
  )
}

let result
try {
  const files = await Promise.all(job.files.map(file))
  const upload = { uppy: withUppy, 'tus-js-client': withTusJs }[job.client]
  result = { urls: Object.fromEntries(await upload(files)) }
} catch (error) {
  result = { error: String(error) }
}
await fetch('/result', { method: 'POST', body: JSON.stringify(result) })
