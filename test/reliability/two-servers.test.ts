import { testScenarios } from './scenario.ts'
import { twoServers } from './two-servers.ts'

testScenarios(twoServers)
