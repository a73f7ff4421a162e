package settings

import (
	"math"

	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// limitRows are how much a node does for whom, part by part. A source is a libp2p peer, an IPv4
// address or an IPv6 /64; a group an IPv4 /24 or an IPv6 /48.
func limitRows() []Setting {
	return []Setting{
		{field: "Conn.Buffered", Kind: Size, least: conns.Allowance, Usage: "`SIZE` that may be buffered on all connections before the heaviest is closed", Otherwise: "half of accounts.total-memory"},
		{field: "Conn.Handshakes", Usage: "`NUMBER` of handshakes that may be under way"},
		{field: "Conn.Unproved", Usage: "`NUMBER` of handshakes a second that may begin from addresses that are not proved; above it they are asked to prove them"},
		{field: "Conn.PerSecond", Usage: "`NUMBER` of connections that an address may make a second, ten times as many at once, and a group four times as many"},
		{field: "Conn.Low", Usage: "`NUMBER` of connections to libp2p peers that are left when there were more than conn.high"},
		{field: "Conn.High", Usage: "`NUMBER` of connections to libp2p peers above which those are closed that are worth least"},

		{field: "Records.BytesPerSource", Kind: Size, Usage: "`SIZE` of store.memory that one source may use", Otherwise: "a sixteenth of store.memory"},
		{field: "Records.BytesPerGroup", Kind: Size, Usage: "`SIZE` of store.memory that the sources of one IP group may use", Otherwise: "four times records.bytes-per-source"},
		{field: "Records.Plenty", Kind: Size, Usage: "`SIZE` of store.memory up to which strangers may store under keys that are far from this node", Otherwise: "half of store.memory"},
		{field: "Records.ProvidersPerSource", most: records.MaxProviders, Usage: "`NUMBER` of records under one key that a source may have which are not its own"},
		{field: "Records.ProvidersPerGroup", most: records.MaxProviders, Usage: "`NUMBER` of records under one key that an IP group may have"},

		{field: "Accounts.Source.FrameRate", Usage: "`NUMBER` of frames a second of each source"},
		{field: "Accounts.Source.FrameBurst", Usage: "`NUMBER` of frames at once of each source"},
		{field: "Accounts.Source.Memory", Kind: Size, least: budget.MinMemory, Usage: "`SIZE` that may be buffered for each source, in and out", Otherwise: "a quarter of accounts.total-memory, 32 MiB at most"},
		{field: "Accounts.Group.FrameRate", Usage: "`NUMBER` of frames a second of each IP group"},
		{field: "Accounts.Group.FrameBurst", Usage: "`NUMBER` of frames at once of each IP group"},
		{field: "Accounts.Group.Memory", Kind: Size, least: budget.MinMemory, Usage: "`SIZE` that may be buffered for each IP group", Otherwise: "half of accounts.total-memory, 128 MiB at most"},
		{field: "Accounts.TotalMemory", Kind: Size, least: budget.MinMemory, Usage: "`SIZE` that may be buffered for all together", Otherwise: "half of store.memory, 64 MiB to 256 MiB"},
		{field: "Accounts.Remember", Usage: "`NUMBER` of sources, and of groups, that are remembered after they have left"},

		{field: "Streams.Queue", Kind: Size, least: proto.MaxFindValueReply, most: math.MaxInt32, Usage: "`SIZE` that may wait to be written on a stream"},
		{field: "Streams.Slots", Usage: "`NUMBER` of answers that may be outstanding on a stream"},
		{field: "Streams.SlotTime", Usage: "`TIME` that an answer may be outstanding"},

		{field: "Client.Streams", Usage: "`NUMBER` of streams to one libp2p peer that is asked, and as many for stores"},
		{field: "Client.Pipeline", Usage: "`NUMBER` of requests that wait for their replies on one of these"},
		{field: "Client.Timeout", Usage: "`TIME` that a libp2p peer may take for a reply"},

		{field: "Dialer.DialTimeout", Usage: "`TIME` that a handshake with an Erlang node may take, retries included"},
		{field: "Dialer.ReplyTimeout", Usage: "`TIME` that an Erlang node may take for a reply"},
		{field: "Dialer.LateReply", Usage: "`TIME` that the connection is kept longer for such a reply"},
		{field: "Dialer.Backoff", least: none, Usage: "`TIME` that an Erlang node is left alone that did not answer in time; 0s for not at all"},
		{field: "Dialer.Idle", Usage: "`TIME` after which an unused connection to an Erlang node is closed"},
		{field: "Dialer.Silence", Usage: "`TIME` after which a connection that brings nothing is doubted"},
		{field: "Dialer.MaxDials", Usage: "`NUMBER` of dials to one address within dialer.dial-window"},
		{field: "Dialer.DialWindow", Usage: "`TIME` in which there are dialer.max-dials to one address"},
		{field: "Dialer.Stagger", Usage: "`TIME` after which the next address of a name is dialled beside the one before"},
		{field: "Dialer.MaxEndpoints", Usage: "`NUMBER` of Erlang nodes of which a connection or a back-off is kept"},
		{field: "Dialer.MaxStreams", most: 100, Usage: "`NUMBER` of streams of one connection to an Erlang node that are used at a time"},

		{field: "Gateway.MaxVerify", Usage: "`NUMBER` of endpoints of Erlang nodes that are dialled back at a time"},
		{field: "Gateway.MaxVerifyPerSource", Usage: "`NUMBER` of these of one source"},
		{field: "Gateway.Idle", Usage: "`TIME` after which a stream of an Erlang node on which nothing comes is reset"},

		{field: "Resolver.Wait", Usage: "`TIME` that an answer to an Erlang client waits for its lookup"},
		{field: "Resolver.GatewayWait", Usage: "`TIME` that an answer to an Erlang gateway waits for its lookup"},
		{field: "Resolver.LookupTime", Usage: "`TIME` that a lookup for Erlang nodes may take"},
		{field: "Resolver.Alpha", Usage: "`NUMBER` of contacts that such a lookup asks at a time"},
		{field: "Resolver.Lookups", Usage: "`NUMBER` of these lookups at a time"},
		{field: "Resolver.LookupsPerGroup", Usage: "`NUMBER` of these for one IP group"},
		{field: "Resolver.LookupsPerSource", Usage: "`NUMBER` of these for one source"},
		{field: "Resolver.Refreshes", Usage: "`NUMBER` of keys that are looked up again for Erlang nodes at a time"},
		{field: "Resolver.RefreshesPerGroup", Usage: "`NUMBER` of these for one IP group"},
		{field: "Resolver.RefreshesPerSource", Usage: "`NUMBER` of these for one source"},
		{field: "Resolver.Waiters", Usage: "`NUMBER` of answers that wait for lookups at a time"},
		{field: "Resolver.WaitersPerGroup", Usage: "`NUMBER` of these for one IP group"},
		{field: "Resolver.WaitersPerSource", Usage: "`NUMBER` of these for one source"},
		{field: "Resolver.Followed", Usage: "`NUMBER` of keys of which others are asked to tell when they change"},
		{field: "Resolver.FollowedPerGroup", Usage: "`NUMBER` of these for one IP group"},
		{field: "Resolver.FollowedPerSource", Usage: "`NUMBER` of these for one source"},
		{field: "Resolver.Keys", Usage: "`NUMBER` of keys that are remembered, hits and misses"},
		{field: "Resolver.Bytes", Kind: Size, most: math.MaxInt32, Usage: "`SIZE` of all that is remembered"},
		{field: "Resolver.BytesPerKey", Kind: Size, most: math.MaxInt32, Usage: "`SIZE` of what is remembered under one key"},
		{field: "Resolver.HitLife", Usage: "`TIME` that what was found is remembered"},
		{field: "Resolver.MissLife", Usage: "`TIME` that it is remembered that there was nothing"},
		{field: "Resolver.KeepFresh", Usage: "`TIME` after it was last asked for that a key is kept fresh"},

		{field: "Adopter.Records", Usage: "`NUMBER` of records of Erlang clients that are replicated for them"},
		{field: "Adopter.RecordsPerGroup", Usage: "`NUMBER` of these of one IP group"},
		{field: "Adopter.RecordsPerSource", Usage: "`NUMBER` of these of one source"},
		{field: "Adopter.Jobs", Usage: "`NUMBER` of records that are being replicated at a time"},
		{field: "Adopter.JobsPerGroup", Usage: "`NUMBER` of these of one IP group"},
		{field: "Adopter.JobsPerSource", Usage: "`NUMBER` of these of one source"},
		{field: "Adopter.Rate", Usage: "`NUMBER` of records a second that are replicated"},
		{field: "Adopter.Burst", Usage: "`NUMBER` of records at once that are replicated"},
		{field: "Adopter.BytesPerSource", Kind: Size, most: math.MaxInt32, Usage: "`SIZE` a second that is replicated of one source"},
		{field: "Adopter.BytesBurstPerSource", Kind: Size, most: math.MaxInt32, Usage: "`SIZE` at once that is replicated of one source"},
		{field: "Adopter.BytesPerGroup", Kind: Size, most: math.MaxInt32, Usage: "`SIZE` a second that is replicated of one IP group"},
		{field: "Adopter.BytesBurstPerGroup", Kind: Size, most: math.MaxInt32, Usage: "`SIZE` at once that is replicated of one IP group"},
		{field: "Adopter.JobTime", Usage: "`TIME` that it may take to replicate a record"},

		{field: "Diversity.PerBucket", Usage: "`NUMBER` of contacts of one IP group in a bucket of the table"},
		{field: "Diversity.PerTable", Usage: "`NUMBER` of contacts of one IP group in the whole table"},
		{field: "Diversity.PerList", Usage: "`NUMBER` of contacts of one IP group among the nearest"},

		{field: "Topics.Subscriptions", Usage: "`NUMBER` of subscriptions"},
		{field: "Topics.SubscriptionsPerPeer", Usage: "`NUMBER` of subscriptions on one stream of a client"},
		{field: "Topics.Names", Usage: "`NUMBER` of topics under which it is told that somebody here has subscribed"},
		{field: "Topics.NamesPerSource", Usage: "`NUMBER` of these for one source"},
		{field: "Topics.NamesRate", Usage: "`NUMBER` of these a second that are told anew or withdrawn"},
		{field: "Topics.NamesBurst", Usage: "`NUMBER` of these at once"},
		{field: "Topics.Topics", Usage: "`NUMBER` of topics that are remembered, with who has subscribed"},
		{field: "Topics.Lookups", Usage: "`NUMBER` of lookups of subscribers at a time"},
		{field: "Topics.LookupsRate", Usage: "`NUMBER` of lookups of subscribers a second"},
		{field: "Topics.Waiting", Usage: "`NUMBER` of messages of a topic that wait for its lookup"},
		{field: "Topics.WaitingBytes", Kind: Size, most: math.MaxInt32, Usage: "`SIZE` of the messages that wait for lookups, of all topics"},
		{field: "Topics.Nodes", Usage: "`NUMBER` of other nodes that are sent something at a time"},
		{field: "Topics.Queue", Usage: "`NUMBER` of messages that wait for one node, or one subscription that is not read"},
		{field: "Topics.QueueBytes", Kind: Size, most: math.MaxInt32, Usage: "`SIZE` of these messages"},
		{field: "Topics.ErlangRate", Usage: "`NUMBER` of messages a second that an Erlang gateway is sent"},

		{field: "Calls.Pending", Usage: "`NUMBER` of calls that may be under way, of all callers"},
		{field: "Calls.PerCaller", Usage: "`NUMBER` of these of one caller"},
		{field: "Calls.Time", Usage: "`TIME` that a call may take that says nothing of that"},
		{field: "Calls.MaxTime", Usage: "`TIME` that a call may take that says so"},
		{field: "Calls.Running", Usage: "`NUMBER` of calls under way of one procedure, client or node"},
		{field: "Calls.Waiting", Usage: "`NUMBER` of calls more that wait for one of these to end"},
		{field: "Calls.Procedures", Usage: "`NUMBER` of procedures that one stream may register"},
		{field: "Calls.Registered", Usage: "`NUMBER` of procedures that all streams may register"},
		{field: "Calls.Lookups", Usage: "`NUMBER` of providers that are looked up at a time"},

		{field: "Watches.Watches", Usage: "`NUMBER` of keys that are watched at a time"},
		{field: "Watches.Holders", Usage: "`NUMBER` of nodes that are asked to tell of a key's changes"},
		{field: "Watches.RenewEvery", Usage: "`TIME` after which it is looked who these are"},
		{field: "Watches.PollEvery", Usage: "`TIME` between two lookups of a watched key of which nobody tells"},
		{field: "Watches.TrustEvery", Usage: "`TIME` between two lookups of one of which somebody tells"},
		{field: "Watches.Apart", Usage: "`TIME` between two lookups of a watched key at the least"},
		{field: "Watches.ErlangEvery", Usage: "`TIME` between two lookups that ask Erlang nodes, at the least"},
	}
}
