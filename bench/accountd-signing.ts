// What a signature costs in this process, and by the sockets of accountd and of lacme-accountd: node bench/accountd-signing.ts
import { accountKeyOf } from '../src/plugins/keys/file.ts'
import { createHolderClient } from '../src/remote-key/holder-client.ts'
import { openSocketWire } from '../src/remote-key/socket-wire.ts'
import { lacmeAccountd, makeKeyFolder, ourAccountd, signingInput, startHolder } from '../test/accountd-world.ts'
import { findPeer } from '../test/peers/peers.ts'

const kid = 'https://acme-v02.api.letsencrypt.org/acme/acct/1'
const url = 'https://acme-v02.api.letsencrypt.org/acme/new-order'
const order = { identifiers: [{ type: 'dns', value: 'www.example.org' }] }
const { signal } = new AbortController()
const rounds = 1000

async function measure(act: () => Promise<unknown>): Promise<number> {
  for (let i = 0; i < 50; i++) await act()
  const beganMs = performance.now()
  for (let i = 0; i < rounds; i++) await act()
  return (performance.now() - beganMs) / rounds
}

for (const kind of ['rsa', 'P-256'] as const) {
  using folder = makeKeyFolder('bench-accountd', kind)
  const key = accountKeyOf(folder.privateKey)
  const line = Buffer.from(signingInput({ alg: key.alg, nonce: 'n'.repeat(22), url, kid }, order))
  const inProcessMs = await measure(() => key.sign(line, undefined as never))
  process.stdout.write(`${kind}: in this process ${inProcessMs.toFixed(2)} ms\n`)
  const strict = `keyid = ${kid}\nnames = *.example.org\naudit-log = ${folder.path}/audit\n`
  const others = [
    ['accountd', ourAccountd, ''],
    ['accountd with keyid, names and audit log', ourAccountd, strict],
    ...(kind === 'rsa' && findPeer('lacme-accountd') !== undefined
      ? ([['lacme-accountd', lacmeAccountd(), '']] as const)
      : []),
  ] as const
  for (const [name, program, more] of others) {
    await using holder = await startHolder(program, folder.path, `privkey = file:${folder.keyFile}\n${more}`)
    const client = createHolderClient((stop) => openSocketWire(holder.socket, stop), 2000)
    const ms = await measure(() => client.sign(line, signal))
    process.stdout.write(`${kind}: ${name} ${ms.toFixed(2)} ms, ${(ms / inProcessMs).toFixed(1)} times as long\n`)
  }
}
