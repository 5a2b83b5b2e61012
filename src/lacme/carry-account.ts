import { createPrivateKey } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import type { Value } from './lacme-file.ts'
import type { LacmeSetup } from './lacme-setup.ts'
import { reasonOf } from './lacme-setup.ts'
import { isWritable, type OwnLine, type OwnSection } from './own-text.ts'
import { type Remark, remark } from './remark.ts'
import { expandSpecifiers, type Runner } from './specifiers.ts'

export const usualServer = 'https://acme-v02.api.letsencrypt.org/directory'
const socketKeys = ['socket', 'user', 'group', 'command'] as const

/**
 * `[client]`, `[accountd]` and lacme-accountd's file become `[account]`.
 * @param accountFolder where we keep what the CA says about the account
 * @param parseServer throws where the address is none of a CA
 */
export async function carryAccount(
  setup: LacmeSetup,
  runner: Runner,
  accountFolder: string,
  parseServer: (text: string) => string,
): Promise<OwnSection> {
  const client = setup.main.sections.get('client')
  const remarks: Remark[] = []
  const lines: OwnLine[] = []
  const server = client?.values.get('server')
  try {
    const url = server?.text || usualServer
    parseServer(url)
    lines.push({ key: 'acme-server', value: url, because: server?.origin ?? "lacme's default" })
  } catch (error) {
    remarks.push(remark('left out', server?.origin ?? '', `server = ${server?.text}`, reasonOf(error)))
  }
  const command = client?.values.get('command')
  const caFile = /(?:^|\s)(?:PERL_LWP_SSL_CA_FILE|SSL_CERT_FILE)=(\/\S+)/.exec(command?.text ?? '')?.[1]
  if (caFile !== undefined && isWritable(caFile))
    lines.push({ key: 'ca-file', value: caFile, because: command?.origin ?? '' })
  for (const key of socketKeys) {
    const value = client?.values.get(key)
    // Without [accountd] the socket is where the key is.
    const isKey = key === 'socket' && !setup.main.sections.has('accountd')
    if (value !== undefined && !isKey) remarks.push(processRemark(`[client] ${key}`, value))
  }
  remarks.push(...tlsRemarks(client?.values ?? new Map()))
  const timeout = client?.values.get('timeout')
  if (timeout !== undefined)
    remarks.push(
      remark(
        'left out',
        timeout.origin,
        `timeout = ${timeout.text}`,
        'every request has a time limit of ours, and an order that takes long is waited for',
      ),
    )
  const key = await carryKey(setup, runner, remarks)
  if (key !== undefined) lines.push(key)
  lines.push({ key: 'dir', value: accountFolder, because: 'registration.json: what the CA says about the account' })
  return { header: 'account', origin: client?.origin, lines, remarks }
}

async function carryKey(setup: LacmeSetup, runner: Runner, remarks: Remark[]): Promise<OwnLine | undefined> {
  const section = setup.main.sections.get('accountd')
  const without = 'put it into a file of this machine, mode 0600, and write key = file:/PATH; or make a new account'
  if (section === undefined) return carrySocket(setup, runner, remarks, without)
  for (const name of ['user', 'group', 'command', 'quiet']) {
    const value = section.values.get(name)
    if (value !== undefined && value.text !== '') remarks.push(processRemark(`[accountd] ${name}`, value))
  }
  for (const name of ['gpg', 'socket', 'logfile', 'quiet']) {
    const value = setup.accountd?.get(name)
    if (value !== undefined && value.text !== '') remarks.push(processRemark(`lacme-accountd's ${name}`, value))
  }
  const keyid = setup.accountd?.get('keyid')
  if (keyid !== undefined && keyid.text !== '')
    remarks.push(
      remark(
        'left out',
        keyid.origin,
        `keyid = ${keyid.text}`,
        'the account is found by its key; a server that holds the key can change the account, and so could lacme',
      ),
    )
  const command = section.values.get('command')
  if (command !== undefined && /(?:^|\/|\s)ssh\s/.test(command.text))
    return carryCommand(command, section.values.get('config')?.text ?? '', runner, remarks, without)
  const given = section.values.get('privkey')
  const privkey = given !== undefined && given.text !== '' ? given : setup.accountd?.get('privkey')
  if (privkey === undefined || privkey.text === '') {
    remarks.push(remark('left out', section.origin, 'the account key, as no privkey is there', without))
    return undefined
  }
  return await carryKeyFile(privkey, runner, remarks, without)
}

/** A lacme-accountd that lacme does not start itself holds the key; we ask it as lacme did. */
function carrySocket(setup: LacmeSetup, runner: Runner, remarks: Remark[], without: string): OwnLine | undefined {
  const given = setup.main.sections.get('client')?.values.get('socket')
  const origin = given?.origin ?? setup.configFile
  try {
    const path = expandSpecifiers(given?.text || '%t/S.lacme', runner)
    if (!isAbsolute(path) || !isWritable(path)) throw new Error('write the whole path: key = accountd:/PATH')
    remarks.push(
      remark(
        'note',
        origin,
        `the account key stays with the lacme-accountd at ${path}`,
        'it must run, as before; "acmems accountd" can take its place (docs/accountd.md)',
      ),
    )
    return { key: 'key', value: `accountd:${path}`, because: origin }
  } catch (error) {
    remarks.push(
      remark('left out', origin, 'the account key, which a lacme-accountd holds', `${reasonOf(error)}; ${without}`),
    )
    return undefined
  }
}

/** lacme adds these options itself. */
function carryCommand(
  command: Value,
  config: string,
  runner: Runner,
  remarks: Remark[],
  without: string,
): OwnLine | undefined {
  try {
    const words = command.text.split(/\s+/).map((word) => expandSpecifiers(word, runner))
    const all = [...words, '--stdio', ...(config === '' ? [] : [`--config=${config}`]), '--quiet'].join(' ')
    if (!isWritable(all) || /['"]/.test(all)) throw new Error('a command with quotes')
    remarks.push(
      remark(
        'note',
        command.origin,
        'the account key stays on another machine',
        'ssh is started as the user that acmems runs as, whose keys and known hosts count (docs/accountd.md)',
      ),
    )
    return { key: 'key', value: `exec:${all}`, because: command.origin }
  } catch (error) {
    remarks.push(
      remark(
        'left out',
        command.origin,
        'the account key, which lies on another machine',
        `${reasonOf(error)}; ${without}`,
      ),
    )
    return undefined
  }
}

async function carryKeyFile(
  privkey: Value,
  runner: Runner,
  remarks: Remark[],
  without: string,
): Promise<OwnLine | undefined> {
  const leave = (instead: string) => {
    remarks.push(remark('left out', privkey.origin, `privkey = ${privkey.text}`, instead))
    return undefined
  }
  const [, method, rest = ''] = /^(file|gpg):(.+)$/.exec(privkey.text) ?? []
  if (method === undefined) return leave(`lacme-accountd does not know it either; ${without}`)
  try {
    const path = expandSpecifiers(rest, runner)
    if (method === 'gpg')
      return leave(`the key must be in the clear: gpg --output KEYFILE --decrypt ${path}; ${without}`)
    if (!isAbsolute(path) || !isWritable(path)) return leave('write the whole path: key = file:/PATH')
    const [pem, { mode }] = [await readFile(path), await stat(path)]
    try {
      createPrivateKey(pem)
    } catch {
      return leave(
        pem.includes('ENCRYPTED')
          ? `the key is locked by a password: openssl pkey -in ${path} -out KEYFILE; ${without}`
          : `${path} holds no private key; ${without}`,
      )
    } finally {
      pem.fill(0)
    }
    if ((mode & 0o077) !== 0)
      remarks.push(remark('note', privkey.origin, `${path} can be read by others`, `chmod 600 ${path}`))
    return { key: 'key', value: `file:${path}`, because: privkey.origin }
  } catch (error) {
    return leave(`${reasonOf(error)}; ${without}`)
  }
}

/** Its processes are cut in another way than ours. */
function processRemark(what: string, value: Value): Remark {
  return remark(
    'left out',
    value.origin,
    `${what} = ${value.text}`,
    'parts of acmems can be processes of their own, too, each with its user: [process] (docs/processes.md)',
  )
}

function tlsRemarks(client: ReadonlyMap<string, Value>): Remark[] {
  const verify = client.get('SSL_verify')
  const remarks =
    verify?.text.toLowerCase() === 'no'
      ? [
          remark(
            'left out',
            verify.origin,
            'SSL_verify = no',
            "a CA is never believed unseen: give [account] ca-file with the root of its server's certificate",
          ),
        ]
      : []
  for (const key of ['SSL_version', 'SSL_cipher_list']) {
    const value = client.get(key)
    if (value !== undefined)
      remarks.push(
        remark('left out', value.origin, `${key} = ${value.text}`, 'TLS 1.2 and 1.3 with their usual ciphers'),
      )
  }
  return remarks
}
