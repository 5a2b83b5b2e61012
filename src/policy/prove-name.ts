import { type Identifier, isWildcard } from '../acme/identifier.ts'
import type { Caller } from '../plugin-api.ts'
import type { Block } from './block.ts'

/**
 * The blocks of the caller that let him prove control of a name by DNS: those that cover the name or its wildcard,
 * as both are proven by the same TXT record (RFC 8555 §8.4). The first one counts.
 */
export function blocksThatMayProve(caller: Caller, name: Identifier, blocks: readonly Block[]): readonly Block[] {
  if (name.type !== 'dns' || isWildcard(name)) return []
  const wildcard: Identifier = { type: 'dns', value: `*.${name.value}` }
  return blocks.filter((block) => caller.blocks.includes(block.name) && (block.covers(name) || block.covers(wildcard)))
}
