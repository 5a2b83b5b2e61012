import { invalidOrders } from './invalid-orders.ts'
import { testScenarios } from './scenario.ts'

testScenarios(invalidOrders)
