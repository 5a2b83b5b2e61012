import { accounts } from './accounts.ts'
import { testScenarios } from './scenario.ts'

testScenarios(accounts)
