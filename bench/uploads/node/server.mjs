// @tus/server with @tus/s3-store, as its README begins: one process, its default locks and cache (in
// memory), parts of 8 MiB, no tags, no checksums of what goes to S3.
//
// Usage: PORT=… BUCKET=… ENDPOINT=… ACCESS_KEY=… SECRET_KEY=… node server.mjs

import { S3Store } from '@tus/s3-store'
import { Server } from '@tus/server'

const { PORT, BUCKET, ENDPOINT, ACCESS_KEY, SECRET_KEY } = process.env

const datastore = new S3Store({
  partSize: 8 * 1024 * 1024,
  useTags: false,
  s3ClientConfig: {
    bucket: BUCKET,
    region: 'us-east-1',
    endpoint: ENDPOINT,
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY },
  },
})
new Server({ path: '/files', datastore }).listen({ host: '127.0.0.1', port: Number(PORT) })
