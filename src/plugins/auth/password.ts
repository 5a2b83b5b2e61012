import { hash, timingSafeEqual } from 'node:crypto'
import type { Plugin, Presented } from '../../plugin-api.ts'

const minLength = 8

const options = {
  password: {
    meaning: "HTTP Basic authentication: the user is the block's name, this is the password",
    type: 'text',
    secret: true,
    parse: parsePassword,
  },
} as const

/** `password`: HTTP Basic (RFC 7617), for clients that know nothing else. It crosses the network as it is. */
export const passwordCredential: Plugin<'credential', typeof options> = {
  kind: 'credential',
  name: 'password',
  meaning: 'HTTP Basic authentication',
  options,
  async create({ password }, { section }) {
    const expected = password === undefined ? undefined : digest(`${section}:${password}`)
    const holds = ({ headers }: Pick<Presented, 'headers'>) => {
      const given = readBasic(headers)
      return expected !== undefined && given !== undefined && timingSafeEqual(digest(given), expected)
    }
    return { holds, couldHold: holds }
  },
}

/** `user:password`. Given twice, nothing holds. */
function readBasic(headers: Presented['headers']): string | undefined {
  const [value = '', ...more] = headers.get('authorization') ?? []
  const encoded = /^basic +([A-Za-z0-9+/]{1,1000}={0,2}) *$/i.exec(value)?.[1]
  return encoded === undefined || more.length > 0 ? undefined : Buffer.from(encoded, 'base64').toString('utf8')
}

/** Of one length whatever is compared. */
function digest(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}

function parsePassword(text: string): string {
  if (text.length < minLength) throw new Error(`a password of less than ${minLength} characters is easily guessed`)
  return text
}
