import type { Socket } from 'node:net'
import type { ProbeScheme } from './probe-target.ts'

const maxBytes = 16_384
const ldapStartTls = Buffer.concat([
  Buffer.from('301d02010177188016', 'hex'),
  Buffer.from('1.3.6.1.4.1.1466.20037', 'latin1'),
])

/**
 * Speaks a protocol in the clear up to the point where TLS begins (RFC 3207, RFC 9051 §6.2.1, RFC 2595 §4, RFC 4511 §4.14).
 * @throws Error saying what the server answered instead
 */
export async function startTls(scheme: ProbeScheme, socket: Socket, signal: AbortSignal): Promise<void> {
  if (scheme === 'tls') return
  const talk = createTalk(socket, signal)
  try {
    switch (scheme) {
      case 'smtp':
        await talk.expect(/^220 /)
        await talk.say('EHLO acmems.invalid', /^250 /)
        await talk.say('STARTTLS', /^220 /)
        break
      case 'imap':
        await talk.expect(/^\* (OK|PREAUTH)/i)
        await talk.say('a STARTTLS', /^a OK/i, /^a /i)
        break
      case 'pop3':
        await talk.expect(/^\+OK/)
        await talk.say('STLS', /^\+OK/)
        break
      case 'ldap':
        socket.write(ldapStartTls)
        await talk.expectLdapSuccess()
        break
      default:
        scheme satisfies never
    }
    // What was sent before TLS must not be taken for what is said within it.
    if (talk.hasMore()) throw new Error('the server says more than it may before TLS begins')
  } finally {
    talk.end()
  }
}

function createTalk(socket: Socket, signal: AbortSignal) {
  let [buffer, total] = [Buffer.alloc(0), 0]
  let ended: Error | undefined
  let wake: () => void = () => undefined
  const onData = (chunk: Buffer) => {
    total += chunk.length
    if (total > maxBytes) ended ??= new Error('the server says too much before TLS begins')
    else buffer = Buffer.concat([buffer, chunk])
    wake()
  }
  const onEnd = () => stop(new Error('the connection was closed before TLS began'))
  const onAbort = () => stop(new Error('no answer in time'))
  function stop(reason: Error): void {
    ended ??= reason
    wake()
  }
  socket.on('data', onData)
  socket.on('close', onEnd)
  socket.on('error', stop)
  signal.addEventListener('abort', onAbort)
  if (signal.aborted) onAbort()

  async function take<T>(read: () => T | undefined): Promise<T> {
    for (;;) {
      const found = read()
      if (found !== undefined) return found
      if (ended !== undefined) throw ended
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }

  function readLine(): string | undefined {
    const end = buffer.indexOf('\n')
    if (end < 0) return undefined
    const line = buffer.subarray(0, end).toString('latin1').trimEnd()
    buffer = buffer.subarray(end + 1)
    return line
  }

  /** Lines before the last one of an answer are passed over: `250-…` in SMTP, `* …` in IMAP. */
  async function expect(wanted: RegExp, last = /^(?!\d{3}-)/): Promise<void> {
    for (;;) {
      const line = await take(readLine)
      if (wanted.test(line)) return
      if (last.test(line)) throw new Error(`the server answers ${JSON.stringify(line.slice(0, 120))} before TLS begins`)
    }
  }

  return {
    expect,
    async say(line: string, wanted: RegExp, last?: RegExp): Promise<void> {
      socket.write(`${line}\r\n`)
      await expect(wanted, last)
    },
    async expectLdapSuccess(): Promise<void> {
      const message = await take(() => {
        // A short length is one octet; a server that explains itself may need two.
        const long = buffer[1] === 0x81 ? 1 : buffer[1] === 0x82 ? 2 : 0
        if (buffer.length < 2 + long) return undefined
        const length = long === 0 ? (buffer[1] ?? 0) : buffer.readUIntBE(2, long)
        if (buffer.length < 2 + long + length) return undefined
        const whole = buffer.subarray(0, 2 + long + length)
        buffer = buffer.subarray(whole.length)
        return whole
      })
      // ExtendedResponse [APPLICATION 24], resultCode ENUMERATED success.
      const at = message.indexOf(0x78)
      const code = at < 0 ? undefined : message.subarray(at).indexOf(Buffer.from([0x0a, 0x01, 0x00]))
      if (code === undefined || code < 0 || code > 6) throw new Error('the LDAP server does not begin TLS')
    },
    hasMore: () => buffer.length > 0,
    end(): void {
      socket.pause()
      socket.off('data', onData)
      socket.off('close', onEnd)
      socket.off('error', stop)
      signal.removeEventListener('abort', onAbort)
    },
  }
}
