import type { Plugin } from '../../plugin-api.ts'
import { createHolderClient } from '../../remote-key/holder-client.ts'
import { openSocketWire } from '../../remote-key/socket-wire.ts'
import { openKeyOfHolder } from './held-key.ts'

/** lacme-accountd serves one after the other: nobody is kept waiting for longer than an order's next step takes. */
const idleMs = 2000

const options = {
  location: {
    meaning: 'UNIX socket of "acmems accountd" or lacme-accountd',
    type: 'path',
    required: true,
    parse: parseSocketPath,
  },
} as const

/** `key = accountd:/run/acmems/S.lacme`: the account key is held by another process, which signs what it likes to. */
export const accountdAccountKey: Plugin<'accountKey', typeof options> = {
  kind: 'accountKey',
  name: 'accountd',
  meaning: 'the account key behind the socket of "acmems accountd" or lacme-accountd',
  options,
  create({ location }, setup) {
    const client = createHolderClient(async (signal) => openSocketWire(location, signal), idleMs)
    return openKeyOfHolder(client, `accountd:${location}`, setup.signal)
  },
}

function parseSocketPath(text: string): string {
  if (!text.startsWith('/')) throw new Error(`key = accountd:${text}: write the whole path of the socket`)
  return text
}
