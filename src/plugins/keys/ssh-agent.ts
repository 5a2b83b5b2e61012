import type { Plugin } from '../../plugin-api.ts'
import { openAgentKey, parseAgentPlace } from '../../remote-key/ssh-agent.ts'
import { tell } from './held-key.ts'

const options = {
  location: {
    meaning: '[SOCKET/]KEY, KEY being a fingerprint (SHA256:…) or the comment; without a socket that of SSH_AUTH_SOCK',
    type: 'key in an agent',
    required: true,
    parse: String,
  },
} as const

/** `key = ssh-agent:…`: an ssh-agent signs; with `ssh-add -s` the key is in a token. */
export const sshAgentAccountKey: Plugin<'accountKey', typeof options> = {
  kind: 'accountKey',
  name: 'ssh-agent',
  meaning: 'the account key in an ssh-agent: RSA, P-256 or P-384; ssh-add -s puts those of tokens there',
  options,
  async create({ location }, setup) {
    const what = `ssh-agent:${location}`
    const place = parseAgentPlace(location, setup.environment?.SSH_AUTH_SOCK)
    const key = await tell(what, openAgentKey(place, setup.signal))
    return {
      alg: key.alg,
      publicJwk: key.publicJwk,
      sign: (octets, context) => tell(what, key.sign(octets, context.signal)),
    }
  },
}
