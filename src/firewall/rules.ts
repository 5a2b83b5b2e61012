import { isJsonObject } from '../acme/json-object.ts'
import {
  type IptablesPlace,
  type IptablesRule,
  iptablesWords,
  readSavedTables,
  type SavedTables,
} from './iptables-save.ts'
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
  /** Everything that rules, each by the tool that knows it; of iptables only what there is. */
  async function look() {
    const { nft } = tools.has
    const ruleset = nft ? readNftRuleset(checked('nft', await tools.nft(['-j', 'list', 'ruleset'])).stdout) : undefined
    const nftIptables = new Map<Family, SavedTables>()
    const legacy = new Map<Family, SavedTables>()
    for (const family of families) {
      if (tools.has.nftIptables && ruleset?.hasIptables(family) !== false)
        nftIptables.set(family, readSavedTables(await tools.saveNftIptables(family)))
      const text = await tools.saveLegacy(family)
      if (text !== '') legacy.set(family, readSavedTables(text))
    }
    return { ruleset, nftIptables, legacy }
  }

  async function insert(openings: readonly Opening[], comment: string): Promise<OwnRule[]> {
    const made: OwnRule[] = []
    try {
      const { ruleset, nftIptables, legacy } = await look()
      if (ruleset === undefined && nftIptables.size + legacy.size === 0)
        throw new Error('neither nft nor iptables is installed: what is dropped cannot be seen')
      const wanted: { readonly place: NftPlace; readonly opening: Opening }[] = []
      for (const opening of openings) {
        const { family } = opening
        for (const place of ruleset?.findDropping(opening, comment) ?? []) {
          const byIptables =
            isLikeIptables(place) && tools.has.nftIptables && (await insertByIptables(place, opening, comment))
          if (byIptables === false) wanted.push({ place, opening })
          else made.push(byIptables)
        }
        // Without nft, iptables has to say itself what it wrote.
        const saved = ruleset === undefined ? nftIptables.get(family) : undefined
        for (const place of saved?.findDropping(opening, comment) ?? []) {
          const rule = await insertByIptables(place, opening, comment)
          if (rule === false) throw new Error(`iptables does not take a rule in ${place.chain} of ${place.table}`)
          made.push(rule)
        }
        for (const place of legacy.get(family)?.findDropping(opening, comment) ?? [])
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
  async function insertByIptables(place: IptablesPlace, opening: Opening, comment: string): Promise<OwnRule | false> {
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
    const { ruleset, nftIptables, legacy } = await look()
    const byIptables = (by: 'nft iptables' | 'legacy iptables', saved: ReadonlyMap<Family, SavedTables>) =>
      [...saved].flatMap(([family, { ours }]) => ours.map((rule): OwnRule => ({ by, family, ...rule })))
    return [
      ...byIptables('legacy iptables', legacy),
      ...byIptables('nft iptables', nftIptables),
      ...(ruleset?.ours ?? []).map((rule): OwnRule => ({ by: 'nft', ...rule })),
    ]
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
