import type { StoredOrders } from './state/order-records.ts'

/** This process, as others on the same state see it. */
export function orderHolder(hostName: string, pid: number, uniqueId: string): string {
  return `${hostName}/${pid}/${uniqueId}`
}

/**
 * What processes of this machine held when they died need not wait for its lease to end: a restart goes on at once.
 * @param isAlive does a process of this machine have that id?
 */
export async function releaseDeadHolders(
  orders: StoredOrders,
  own: string,
  isAlive: (pid: number) => boolean,
): Promise<void> {
  const [ownHost, ownPid] = own.split('/')
  for (const holder of await orders.holders()) {
    const [host, pid] = holder.split('/')
    // In a container every incarnation has the same name and the same process id.
    const isFormerSelf = pid === ownPid && holder !== own
    if (host === ownHost && (isFormerSelf || !isAlive(Number(pid)))) await orders.releaseHolder(holder)
  }
}
