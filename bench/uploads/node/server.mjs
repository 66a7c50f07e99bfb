// @tus/server with @tus/s3-store, as its README begins: one process, and its defaults: locks and cache
// in memory, parts of 8 MiB.
//
// Usage: PORT=… BUCKET=… ENDPOINT=… ACCESS_KEY=… SECRET_KEY=… node server.mjs

import { S3Store } from '@tus/s3-store'
import { Server } from '@tus/server'

const { PORT, BUCKET, ENDPOINT, ACCESS_KEY, SECRET_KEY } = process.env

const datastore = new S3Store({
  s3ClientConfig: {
    bucket: BUCKET,
    region: 'us-east-1',
    endpoint: ENDPOINT,
    forcePathStyle: true,
    credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY },
  },
})
new Server({ path: '/files', datastore }).listen({ host: '127.0.0.1', port: Number(PORT) })
