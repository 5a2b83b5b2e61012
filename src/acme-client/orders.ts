import type { Identifier } from '../acme/identifier.ts'
import { type Order, parseOrder } from '../acme/order.ts'
import type { PluginContext } from '../plugin-api.ts'
import { type AcmeReply, type AcmeTransport, jsonOf, type Signer, unusable } from './transport.ts'

export type NewOrder = {
  readonly identifiers: readonly Identifier[]
  readonly profile?: string
  /** The certificate that the new one will stand in for (RFC 9773 §5). */
  readonly replaces?: string
}

/** An order and how long the CA asks us to wait before looking again. */
export type OrderReply = { readonly order: Order; readonly retryAfterMs: number | undefined }

/** RFC 8555 §7.4. @throws ProblemError */
export async function createOrder(
  transport: AcmeTransport,
  signer: Signer,
  request: NewOrder,
  context: PluginContext,
): Promise<OrderReply> {
  const { newOrderUrl } = await transport.directory(context)
  const reply = await transport.post(newOrderUrl, request, signer, context)
  if (reply.location === undefined) throw unusable('the CA did not say where the order is', undefined)
  return processOrderReply(reply.location, reply)
}

export async function fetchOrder(
  transport: AcmeTransport,
  signer: Signer,
  url: string,
  context: PluginContext,
): Promise<OrderReply> {
  return processOrderReply(url, await transport.post(url, undefined, signer, context))
}

/** RFC 8555 §7.4: the CA goes on in its own time; usually the answer is `processing`. @throws ProblemError */
export async function finalizeOrder(
  transport: AcmeTransport,
  signer: Signer,
  order: Order,
  csrDer: Uint8Array,
  context: PluginContext,
): Promise<OrderReply> {
  const payload = { csr: Buffer.from(csrDer).toString('base64url') }
  return processOrderReply(order.url, await transport.post(order.finalizeUrl, payload, signer, context))
}

export function processOrderReply(url: string, reply: AcmeReply): OrderReply {
  try {
    return { order: parseOrder(url, jsonOf(reply)), retryAfterMs: reply.retryAfterMs }
  } catch (cause) {
    throw unusable('the CA answered something that is no order', cause)
  }
}
