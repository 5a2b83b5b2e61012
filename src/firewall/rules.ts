import { isJsonObject } from '../acme/json-object.ts'
import { type IptablesPlace, type IptablesRule, iptablesWords, readSavedTables } from './iptables-save.ts'
import { isLikeIptables, type NftPlace, type NftRule, nftRuleOf, readNftRuleset } from './nft-ruleset.ts'
import type { Family, Opening } from './opening.ts'
import type { FirewallTools, ToolRun } from './tools.ts'

/** A rule of ours as it can be found again: by its handle, or by all of its words. */
export type OwnRule =
  | ({ readonly by: 'nft' } & NftRule)
  | ({ readonly by: 'nft iptables' | 'legacy iptables'; readonly family: Family } & IptablesRule)

/** Our rules in the machine's firewall. Nothing else is ever changed there, and nothing is saved to be restored. */
export interface Rules {
  /** Lets it in wherever it may be dropped now. @throws Error when that cannot be done; then nothing was */
  insert(openings: readonly Opening[], comment: string): Promise<OwnRule[]>
  /** What is not there any more is no failure. @throws Error when something stayed */
  remove(rules: readonly OwnRule[]): Promise<void>
  /** All that say they are ours, whoever made them. */
  list(): Promise<OwnRule[]>
}

const families: readonly Family[] = ['ip', 'ip6']
/** iptables of both kinds takes turns. */
const waitWords = ['-w', '5']

export function createRules(tools: FirewallTools): Rules {
  async function readNft() {
    if (!tools.has.nft) return undefined
    return readNftRuleset(checked('nft', await tools.nft(['-j', 'list', 'ruleset'])).stdout)
  }

  async function insert(openings: readonly Opening[], comment: string): Promise<OwnRule[]> {
    const made: OwnRule[] = []
    try {
      const ruleset = await readNft()
      const legacy = new Map(
        await Promise.all(
          families.map(async (family) => [family, readSavedTables(await tools.saveLegacy(family))] as const),
        ),
      )
      const wanted: { readonly place: NftPlace; readonly opening: Opening }[] = []
      for (const opening of openings) {
        for (const place of ruleset?.findDropping(opening, comment) ?? []) {
          const byIptables =
            isLikeIptables(place) && tools.has.nftIptables && (await insertByIptables(place, opening, comment))
          if (byIptables === false) wanted.push({ place, opening })
          else made.push(byIptables)
        }
        for (const place of legacy.get(opening.family)?.findDropping(opening, comment) ?? [])
          made.push(await insertLegacy(place, opening, comment))
      }
      if (wanted.length > 0) made.push(...(await insertByNft(wanted, comment)))
      return made
    } catch (error) {
      await remove(made)
      throw error
    }
  }

  async function insertByNft(
    wanted: readonly { readonly place: NftPlace; readonly opening: Opening }[],
    comment: string,
  ): Promise<OwnRule[]> {
    const nftables = wanted.map(({ place, opening }) => ({ insert: { rule: nftRuleOf(place, opening, comment) } }))
    const { stdout } = checked('nft', await tools.nft(['-j', '-e', '-a', JSON.stringify({ nftables })]))
    const echoed: unknown = JSON.parse(stdout)
    const items: unknown[] = isJsonObject(echoed) && Array.isArray(echoed.nftables) ? echoed.nftables : []
    const handles = items.flatMap((item) => {
      const inserted = isJsonObject(item) ? (item.insert ?? item.add) : undefined
      const rule = isJsonObject(inserted) ? inserted.rule : undefined
      return isJsonObject(rule) && typeof rule.handle === 'number' ? [rule.handle] : []
    })
    if (handles.length !== wanted.length) throw new Error('nft does not say what it made of our rules')
    return wanted.map(({ place }, index) => ({ by: 'nft', ...place, handle: handles[index] ?? 0, comment }))
  }

  /** @returns false where iptables does not know the table: then it is nft's */
  async function insertByIptables(place: NftPlace, opening: Opening, comment: string): Promise<OwnRule | false> {
    const { table, chain } = place
    const words = iptablesWords(opening, comment)
    const family = opening.family
    const { status } = await tools.nftIptables(family, [...waitWords, '-t', table, '-I', chain, '1', ...words])
    return status === 0 && { by: 'nft iptables', family, table, comment, words: [chain, ...words] }
  }

  async function insertLegacy({ table, chain }: IptablesPlace, opening: Opening, comment: string): Promise<OwnRule> {
    const words = iptablesWords(opening, comment)
    const { family } = opening
    const args = [...waitWords, '-t', table, '-I', chain, '1', ...words]
    checked('iptables-legacy', await tools.legacyIptables(family, args))
    return { by: 'legacy iptables', family, table, comment, words: [chain, ...words] }
  }

  async function remove(rules: readonly OwnRule[]): Promise<void> {
    if (rules.length === 0) return
    // After a reload of the rules the handle may be another one's: it is ours only with our comment.
    const there = await list()
    const failures: string[] = []
    for (const rule of rules) {
      if (!there.some((one) => isSame(one, rule))) continue
      const { status, stderr } = await removeOne(rule)
      if (status !== 0) failures.push(stderr.trim())
    }
    if (failures.length === 0) return
    const left = await list()
    if (rules.some((rule) => left.some((one) => isSame(one, rule))))
      throw new Error(`a rule of ours could not be deleted: ${failures.join('; ')}`)
  }

  function removeOne(rule: OwnRule): Promise<ToolRun> {
    if (rule.by === 'nft') {
      const { family, table, chain, handle } = rule
      return tools.nft(['delete', 'rule', family, table, chain, 'handle', `${handle}`])
    }
    const args = [...waitWords, '-t', rule.table, '-D', ...rule.words]
    return rule.by === 'nft iptables' ? tools.nftIptables(rule.family, args) : tools.legacyIptables(rule.family, args)
  }

  async function list(): Promise<OwnRule[]> {
    const ours: OwnRule[] = []
    for (const family of families) {
      for (const rule of readSavedTables(await tools.saveLegacy(family)).ours)
        ours.push({ by: 'legacy iptables', family, ...rule })
    }
    const ruleset = await readNft()
    for (const rule of ruleset?.ours ?? []) ours.push({ by: 'nft', ...rule })
    for (const family of families) {
      if (!tools.has.nftIptables || ruleset?.hasIptables(family) !== true) continue
      for (const rule of readSavedTables(await tools.saveNftIptables(family)).ours)
        ours.push({ by: 'nft iptables', family, ...rule })
    }
    return ours
  }

  return { insert, remove, list }
}

function isSame(left: OwnRule, right: OwnRule): boolean {
  if (left.by !== right.by || left.table !== right.table || left.comment !== right.comment) return false
  if (left.family !== right.family) return false
  if (left.by === 'nft') return right.by === 'nft' && left.chain === right.chain && left.handle === right.handle
  return right.by !== 'nft' && left.words.join(' ') === right.words.join(' ')
}

function checked(name: string, run: ToolRun): ToolRun {
  if (run.status !== 0) throw new Error(`${name}: ${run.stderr.trim().split('\n')[0] ?? ''}`)
  return run
}
