// Usage: node bundle.mjs SCRIPT MADE: the script and what it imports as one file for a browser.

import { build } from 'esbuild'

const [script, made] = process.argv.slice(2)

await build({ entryPoints: [script], outfile: made, bundle: true, format: 'esm', logLevel: 'error' })
