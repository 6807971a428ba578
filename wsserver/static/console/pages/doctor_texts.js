/** Texts of the doctor. */

import { texts } from "../parts/i18n.js";

export const TEXTS = {
  doctor: ["Doctor", "诊断"],
  hint: [
    "Checks from this browser, and of each node. wsctl doctor checks the network path from another machine: DNS, certificate, proxy timeouts.",
    "从本浏览器以及对每个节点进行检查。wsctl doctor 可从其他机器检查网络路径：DNS、证书、代理超时。",
  ],
  run_again: ["Check again", "重新检查"],
  running: ["checking …", "检查中……"],
  check: ["Check", "检查项"],
  result: ["Result", "结果"],
  details: ["Details", "详情"],
  here: ["From this browser", "从本浏览器"],
  of_node: ["Node {node}", "节点 {node}"],
  of_server: ["Server", "服务器"],
  ok: ["ok", "正常"],
  warning: ["warning", "警告"],
  failed: ["failed", "失败"],
  skipped: ["skipped", "跳过"],
  summary: [
    "{ok} ok, {warning} warnings, {failed} failed",
    "{ok} 项正常，{warning} 项警告，{failed} 项失败",
  ],

  api: ["API", "API"],
  api_ok: ["answers in {ms}", "响应耗时 {ms}"],
  tls: ["Encryption", "加密"],
  tls_ok: ["HTTPS", "HTTPS"],
  tls_local: ["not used, and not needed on this machine", "未使用，本机无需使用"],
  tls_missing: [
    "HTTP: others on the network can read the sign-in and every message",
    "HTTP：网络中的其他人可以读取登录信息和所有消息",
  ],
  tls_advice: [
    "Put a proxy with a certificate in front, and use its https:// address.",
    "在前面部署带证书的代理，并使用其 https:// 地址。",
  ],
  proxy: ["Proxy", "代理"],
  proxy_none: ["none", "无"],
  proxy_trusted: ["trusted; you come from {ip}", "受信任；您的地址是 {ip}"],
  proxy_untrusted: [
    "not trusted: its address {ip} is taken for that of all clients",
    "不受信任：所有客户端的地址都会显示为 {ip}",
  ],
  proxy_advice: ["Name it in trusted_proxies.", "请将其加入 trusted_proxies。"],
  clock: ["Clock", "时钟"],
  clock_ok: ["differs from the server's by {s} s", "与服务器相差 {s} 秒"],
  clock_advice: [
    "Synchronize the clock of this computer or of the server: tokens expire by it.",
    "请同步本机或服务器的时钟：令牌的过期时间依赖它。",
  ],
  socket: ["WebSocket", "WebSocket"],
  socket_ok: ["open after {ms}, answers in {pong}", "{ms} 后打开，响应耗时 {pong}"],
  socket_failed: ["cannot be opened: {reason}", "无法打开：{reason}"],
  socket_advice: [
    "See whether a proxy passes the headers Upgrade and Connection, and whether you have too many connections.",
    "请检查代理是否传递 Upgrade 和 Connection 头，以及您的连接数是否过多。",
  ],
  delivery: ["Delivery", "投递"],
  delivery_ok: ["published and received in {ms}", "发布到收到耗时 {ms}"],
  delivery_failed: ["published, but not received within {s} s", "已发布，但 {s} 秒内未收到"],
  delivery_advice: ["Look at the trace of {id}.", "请查看 {id} 的追踪。"],
  needs: ["needs the permission {permission}", "需要权限 {permission}"],

  nodes: ["Nodes", "节点"],
  nodes_ok: ["{names}", "{names}"],
  nodes_silent: ["no answer from {names}", "{names} 没有响应"],
  nodes_silent_advice: [
    "See whether its process hangs (its log, its processor), and restart it.",
    "请检查其进程是否卡住（日志、处理器），并重启。",
  ],
  nodes_lost: ["lost: {names}", "失联：{names}"],
  nodes_lost_advice: [
    "It has stopped without draining: see its log, and start it again.",
    "它未排空就停止了：请查看日志并重新启动。",
  ],
  versions: ["Versions", "版本"],
  versions_mixed: ["different: {versions}", "不一致：{versions}"],
  versions_advice: ["Finish the upgrade of all nodes.", "请完成所有节点的升级。"],

  connections: ["Connections", "连接"],
  connections_of: ["{open} of {limit}", "{open} / {limit}"],
  connections_advice: [
    "Raise max_connections and the descriptor limit, or add a node.",
    "请提高 max_connections 和描述符上限，或增加节点。",
  ],
  descriptors: ["Descriptors", "文件描述符"],
  descriptors_of: ["{open} of {limit} open", "已打开 {open} / {limit}"],
  descriptors_few: [
    "{open} of {limit} open: enough for about {reach} connections, max_connections is {most}",
    "已打开 {open} / {limit}：约够 {reach} 个连接，max_connections 为 {most}",
  ],
  descriptors_advice: [
    "Raise the hard limit to {wanted} (systemd: LimitNOFILE={wanted}).",
    "请将硬上限提高到 {wanted}（systemd：LimitNOFILE={wanted}）。",
  ],
  loop: ["Event loop", "事件循环"],
  loop_lag: ["lags by {ms}", "延迟 {ms}"],
  loop_advice: [
    "Check what keeps the processor busy: plugins, many joins at once, another process.",
    "请检查占用处理器的原因：插件、大量同时加入、其他进程。",
  ],
  errors: ["Errors", "错误"],
  errors_ok: ["less than {limit} of operations in {s} s", "{s} 秒内少于 {limit} 的操作失败"],
  errors_many: ["more than {limit} of operations in {s} s", "{s} 秒内超过 {limit} 的操作失败"],
  errors_advice: [
    "See which ones on the page Live, and in the server's log.",
    "请在“实时事件”页和服务器日志中查看。",
  ],
  database: ["Database", "数据库"],
  database_ok: [
    "{kind}, {size}, {queued} writes waiting, the last commit took {commit}",
    "{kind}，{size}，{queued} 个写入等待，上次提交耗时 {commit}",
  ],
  database_lost: ["{n} writes lost since the start", "启动以来丢失 {n} 个写入"],
  database_advice: [
    "Check its disk; docs/database.rst says what to do for each error.",
    "请检查磁盘；docs/database.rst 说明了每种错误的处理方法。",
  ],
  disk: ["Disk", "磁盘"],
  disk_of: ["{free} of {total} free", "剩余 {free} / {total}"],
  disk_elsewhere: ["on the database server", "在数据库服务器上"],
  disk_advice: [
    "Free some space, or shorten the retention of snapshots, streams and notifications.",
    "请释放空间，或缩短快照、流和通知的保留期。",
  ],
  streams: ["Streams", "流"],
  streams_ok: ["{messages} messages in {streams} streams", "{streams} 个流中共 {messages} 条消息"],
  streams_late: [
    "{late} of {messages} messages are overdue for pruning by over an hour",
    "{messages} 条消息中有 {late} 条清理逾期超过一小时",
  ],
  streams_advice: [
    "Check the server's log for the periodic work 'prune'.",
    "请在服务器日志中检查周期任务 prune。",
  ],
  broker: ["Broker", "消息代理"],
  broker_advice: [
    "Check redis_url and Redis: messages reach only the clients of their own node.",
    "请检查 redis_url 和 Redis：消息只能到达本节点的客户端。",
  ],
  webhooks: ["Webhooks", "Webhook"],
  webhooks_of: [
    "{waiting} waiting, {failed} given up, {dropped} dropped since the start",
    "启动以来等待 {waiting}，放弃 {failed}，丢弃 {dropped}",
  ],
  webhooks_advice: [
    "Check the receiving server; docs/webhooks.rst says what it has to answer.",
    "请检查接收服务器；docs/webhooks.rst 说明了它应返回什么。",
  ],
  clocks: ["Clocks of the nodes", "节点时钟"],
  clocks_ok: ["differ by {s} s at most", "最多相差 {s} 秒"],
  clocks_wrong: ["differ: {names}", "不一致：{names}"],
  clocks_advice: [
    "Synchronize the clocks of all machines (chrony, systemd-timesyncd).",
    "请同步所有机器的时钟（chrony、systemd-timesyncd）。",
  ],
  settings: ["Settings of the nodes", "节点配置"],
  settings_differ: ["others than on this node: {names}", "与本节点不同：{names}"],
  settings_advice: [
    "Copy the settings from one machine to all others, and restart the nodes one by one. data_dir/files: let the machines share this folder, or set file_store_url.",
    "请把一台机器的配置复制到其他机器，并逐个重启节点。data_dir/files：请让各机器共享此文件夹，或设置 file_store_url。",
  ],
  channel: ["Channel {name}", "渠道 {name}"],
  channel_of: [
    "{waiting} waiting, {failed} given up in 24 h",
    "24 小时内等待 {waiting}，放弃 {failed}",
  ],
  channel_off: ["not configured", "未配置"],
  channel_untried: ["not configured; {n} in 24 h needed it", "未配置；24 小时内有 {n} 条需要它"],
  channel_late: ["{waiting} waiting, due since {since}", "{waiting} 条等待，自 {since} 起到期"],
  channel_advice: ["See why on the page Notifications.", "请在“通知”页查看原因。"],
  channel_settings: [
    "Set {settings} to send notifications through it.",
    "设置 {settings} 后即可通过它发送通知。",
  ],
};

export const t = texts(TEXTS);
