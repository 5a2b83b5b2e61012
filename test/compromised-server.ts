// What somebody would try who has taken over the server: run as its user, with nothing but what that user has.
// Prints a JSON object: each attempt, and what came of it.
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'

type Place = {
  readonly folder: string
  readonly run: string
  readonly accountUrl: string
  readonly origin: string
  readonly keyPath: string
  readonly pids: Readonly<Record<string, number>>
  readonly hostKey: string
  /** A good one, for another name and key. */
  readonly otherChain: string
}

const place = JSON.parse(process.argv[2] ?? '') as Place
const { folder, run, accountUrl, origin, pids } = place
const outcomes: Record<string, string> = {}

async function attempt(what: string, act: () => unknown): Promise<void> {
  try {
    const result = await act()
    outcomes[what] = result === undefined ? 'refused' : `GOT ${String(result).slice(0, 60)}`
  } catch (error) {
    outcomes[what] = (error as NodeJS.ErrnoException).code ?? String(error)
  }
}

/** One connection; what comes until it is closed, has so many lines, or has been silent. */
function talk(path: string, lines: readonly string[], answers = 3): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path })
    let said = ''
    socket.on('data', (chunk) => {
      said += String(chunk)
      if (said.split('\r\n').length > answers) socket.destroy()
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(said))
    socket.setTimeout(1500, () => socket.destroy())
    socket.on('connect', () => socket.write(lines.map((line) => `${line}\r\n`).join('')))
  })
}

const accountd = join(run, 'accountd/S.lacme')

/** undefined: the holder of the key did not sign it. */
async function sign(path: string, payload: object | undefined, header: object = {}): Promise<string | undefined> {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const protectedHeader = { alg: 'ES256', kid: accountUrl, nonce: 'bm9uY2U', url: path, ...header }
  const answer = await talk(accountd, [`${encode(protectedHeader)}.${payload === undefined ? '' : encode(payload)}`])
  return answer.split('\r\n')[2] || undefined
}

const url = (path: string) => `${origin}/${path}`
const order = (name: string) => ({ identifiers: [{ type: 'dns', value: name }] })

// What it is there for still works: what is refused is refused for what it is.
await attempt('an order for a name of the list', () => sign(url('order-plz'), order('www.test')))

await attempt('read the account key', () => readFileSync(place.keyPath))
for (const [name, pid] of Object.entries(pids)) {
  await attempt(`read the memory of ${name}`, () => readFileSync(`/proc/${pid}/mem`))
  await attempt(`read the variables of ${name}`, () => readFileSync(`/proc/${pid}/environ`))
  await attempt(`end ${name}`, () => process.kill(pid, 'SIGKILL'))
}
await attempt('come to the admin socket', () => talk(join(folder, 'key/admin/S.lacme'), []))
await attempt('put another socket in the place of accountd', () => renameSync(accountd, `${accountd}.old`))
await attempt('change the configuration', () => writeFileSync(join(folder, 'acmems.ini'), '', { flag: 'a' }))
await attempt("change accountd's configuration", () => writeFileSync(join(folder, 'accountd.conf'), '', { flag: 'a' }))
await attempt('become root', () => process.setuid?.(0))
await attempt('become accountd', () => process.setuid?.('uucp'))

await attempt('change the contact', () => sign(accountUrl, { contact: ['mailto:evil@evil.example'] }))
await attempt('end the account', () => sign(accountUrl, { status: 'deactivated' }))
await attempt('end the account, in another case', () => sign(accountUrl, { Status: 'deactivated' }))
await attempt('change the key', () =>
  sign(url('rollover-account-key'), { protected: 'e30', payload: 'e30', signature: 'AA' }),
)
await attempt('change the key at another address', () =>
  sign(url('order-plz'), { protected: 'e30', payload: 'e30', signature: 'AA' }),
)
await attempt('make another account', () => sign(url('sign-me-up'), { termsOfServiceAgreed: true }))
await attempt('an order for a name outside of the list', () => sign(url('order-plz'), order('www.evil.example')))
await attempt('an order for a wildcard', () => sign(url('order-plz'), order('*.test')))
await attempt('an order with a name of the list, and another', () =>
  sign(url('order-plz'), { identifiers: [...order('www.test').identifiers, ...order('evil.example').identifiers] }),
)
await attempt('an authorization for a name outside of the list', () =>
  sign(url('new-authz'), { identifier: { type: 'dns', value: 'evil.example' } }),
)
await attempt('a signature for another CA', () => sign('https://evil.example/order', order('www.test')))
await attempt('a signature over anything', () =>
  talk(accountd, ['aGVsbG8.d29ybGQ']).then((said) => said.split('\r\n')[2] || undefined),
)

const installer = join(run, 'install/S')

/** undefined: it says no. */
async function tell(message: object, socket = installer): Promise<string | undefined> {
  const said = await talk(socket, [JSON.stringify({ id: 1, ...message })], 1)
  return said === '' || said.includes('"error"') ? undefined : said
}

await attempt('read the key of the host', () => readFileSync(place.hostKey))
await attempt('read what the installer keeps', () => readdirSync(join(folder, 'installer')))
await attempt('write where certificates are', () => writeFileSync(join(folder, 'host', 'mine'), ''))
await attempt('ask for the key', () => tell({ ask: 'key', block: 'web' }))
await attempt('install for a name that is not configured', () =>
  tell({ ask: 'install', block: '../../etc/shadow', occasion: 'next', chain: place.otherChain }),
)
await attempt('install the certificate of another key and name', () =>
  tell({ ask: 'install', block: 'web', occasion: 'again', chain: place.otherChain }),
)
await attempt('install it as the next', () =>
  tell({ ask: 'install', block: 'web', occasion: 'next', chain: place.otherChain }),
)
await attempt('say where it goes', () =>
  tell({ ask: 'install', block: 'web', occasion: 'again', chain: place.otherChain, directory: '/etc', hook: 'id' }),
)
await attempt('run a hook', () => tell({ ask: 'hook', block: 'web', command: 'id' }))

const firewall = join(run, 'firewall/S')
for (const port of [22, '22; flush ruleset', -1])
  await attempt(`open the port ${port}`, () => tell({ ask: 'open', port }, firewall))

process.stdout.write(JSON.stringify(outcomes))
