import { testScenarios } from './scenario.ts'
import { stuckOrders } from './stuck-orders.ts'

testScenarios(stuckOrders)
