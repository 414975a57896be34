// A random program of users and peers: what the swarm makes of a seed, prints, shrinks and replays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace warren::swarm {

// One thing somebody does.
enum class Verb : uint8_t {
  // listeners
  listen,
  listenUnix,
  stop,
  stopActive,
  drain,
  reloadListener,
  // connections
  arrive,  // a peer connects to a listener of warren's
  dial,    // warren connects: to a peer, to its own listener, or to nobody
  adopt,   // warren is given a connected descriptor
  churn,   // so many peers come and go that slots are used again
  // a socket's verbs
  write,
  send,
  sink,
  cork,
  flush,
  end,
  endWith,
  close,
  terminate,
  shutWrite,
  shutRead,
  pause,
  resume,
  timeout,
  idleTimeout,
  reload,
  unref,
  upgrade,  // to TLS
  ask,      // every fact there is
  throws,
  // a peer's
  peerSend,
  peerRead,
  peerReadAll,
  peerEnd,
  peerReset,
  peerClose,
  peerUpgrade,  // goes on in TLS
  peerNotify,   // close_notify, and no FIN
  peerRekey,
  peerMeddle,  // puts something else between its records
  peerCut,     // sends its records in small pieces
  peerHush,    // says nothing any more, or speaks again
  // the machine's
  elapse,
  descriptors,  // few of them, or enough
  quiesce,      // no more faults: whatever can be delivered must be
  count,        // no verb: their number
};

// When it is done: now, or inside of what comes next of a kind.
enum class When : uint8_t {
  now,
  atOpen,
  atData,
  atDrain,
  atEnd,
  atClose,
  atTimeout,
  atHandshake,
  posted,
  deferred,
  later,  // by a timer
  count,
};

struct Operation {
  Verb verb = Verb::elapse;
  When when = When::now;
  uint32_t who = 0;     // among those there are; inside a handler an even number is its own socket
  uint32_t amount = 0;  // bytes, milliseconds, a choice
  uint32_t turns = 0;   // of the reactor afterwards
};

// Everything a run depends on.
struct Program {
  uint64_t seed = 0;     // of the chaos
  uint32_t chaos = 0;    // which faults: see chaosOf
  uint32_t kqueue = 0;   // the kernel tells events as kqueue does
  uint32_t buffers = 0;  // how large the kernel's are
  uint32_t budget = 0;   // how much a socket may read in a turn
  uint32_t tidy = 1;     // ends in peace; or the reactor is destroyed in the middle
  // 1: some listeners speak TLS, and so do sockets dialed to them. 2: so do peers; sockets and peers turn
  // to it in the middle; and half of the handler tables have `handshake`. 3: both.
  uint32_t tls = 0;
  std::vector<Operation> operations;
};

Program generate(uint64_t seed, size_t steps);

// One line for the settings, one for each operation.
std::string print(const Program& program);
std::optional<Program> parse(std::string_view text);

}  // namespace warren::swarm
