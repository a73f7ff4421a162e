// Package api is a node's local API: HTTP and JSON on a Unix socket in its data
// directory, for the commands and whatever else its owner runs on the machine. The
// server is [Open], the commands' side [Client].
//
//	GET  /v1/status    how the node is: Status
//	POST /v1/call      CallRequest: calls a procedure; CallAnswer
//	POST /v1/serve     ServeRequest: serves one; a line for each ServedCall
//	POST /v1/answer    AnswerRequest: answers such a call
//	POST /v1/backup    BackupRequest: copies the data directory; Backup
//	POST /v1/publish   PublishRequest: publishes under a topic; {}
//	GET  /v1/subscribe ?pattern=…: a Published a line, as they come, until the caller leaves
//
// Errors are application/problem+json (RFC 9457), see [Problem].
package api
