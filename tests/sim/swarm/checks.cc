// What must be true when nothing more happens.
#include <algorithm>
#include <utility>

#include "player.h"

namespace warren::swarm {

using namespace std::chrono_literals;

namespace {

constexpr uint64_t kCalm = 250;  // milliseconds: longer than delays and a listener's retry take
constexpr size_t kStoppedListeners = 64;

}  // namespace

// After every operation: the reactor and the model count the same.
void Player::checkCounts() {
  const Stats stats = owned_->stats();
  expect(stats.opened == opened_, "opened sockets and open handlers differ");
  expect(stats.closed == closed_, "closed sockets and close handlers differ");
  expect(stats.connectFailures == refused_, "failed connects and connectError handlers differ");
}

// What the reactor says is queued is what its sockets say. A TLS socket has records, too, and says nothing
// of those.
void Player::checkQueued() {
  uint64_t queued = 0;
  for (const User& user : users_) {
    const bool lingers = user.kernel != nullptr && user.kernel->fd >= 0;
    if (user.live() || lingers) queued += user.socket.unsentBytes();
  }
  const bool same = owned_->stats().queuedBytes == queued;
  expect(tls_ != 0 || same, "the reactor and its sockets count different bytes in the outboxes");
}

void Player::quiesce() {
  calm();
  elapse(kCalm);
  settle();
  if (!failure_) checkQuiet();
  rage();
}

// No event was lost, and nothing spins.
void Player::checkQuiet() {
  for (User& user : users_) {
    refresh(user);
    checkQuiet(user);
    checkSealed(user);
  }
  checkQueued();
  for (const Group& group : groups_) checkListener(group);
  for (const auto& [fd, entry] : queue().entries) {
    const sim::KernelSocket& socket = *entry->socket;
    const bool known = tls_ != 0 || ends_.contains(&socket) || entry->watch == os::Watch::listener;
    expect(known || socket.phase != sim::Phase::connected,
           "a connect was decided and nobody has noticed");
  }
  const uint64_t idle = owned_->stats().idleTurns;
  for (int turn = 0; turn < 3; ++turn) step();
  expect(owned_->stats().idleTurns == idle + 3, "the reactor works though nothing happens");
  expect(owned_->nextDeadline() != 0ms, "the reactor would not sleep though nothing happens");
}

void Player::checkQuiet(const User& user) {
  if (user.live() && user.timeoutAt && !user.idle && user.opened) {
    expect(now() < *user.timeoutAt + 2 * kMillisecond || user.closed, user, "a timeout never came");
  }
  if (user.kernel == nullptr || user.kernel->fd < 0) return;
  sim::KernelSocket& socket = *user.kernel;
  const bool broken = socket.phase != sim::Phase::connected || socket.error != 0;
  if (!user.paused) {
    const End* other = otherOf(user);
    const bool over = user.sealed && (user.endTold || other == nullptr || other->finished);
    expect(socket.inbox.size() == 0 || over, user, "bytes wait and nobody is told");
    expect(!broken || !user.live(), user, "the connection broke and nobody is told");
    const bool told = user.endTold || user.muted || !user.live();
    expect(!socket.finReceived || told, user, "the peer has ended and nobody is told");
  }
  const bool writeDead = (socket.family == Family::unix && socket.other->orphan) ||
                         ((chaos_.noBuffers > 0 || noMemory()) && user.paused);
  if (broken || writeDead || shaking(user)) return;
  const bool room = readinessOf(socket).out;
  const uint64_t unsent = user.socket.unsentBytes();
  const bool lost = user.sealed && (user.failed || user.unagreed);  // with the session
  expect(!room || unsent == 0 || lost, user, "there is room and queued bytes are not sent");
  if (!user.live()) return;
  expect(!user.finished || unsent > 0 || !room || socket.writeShut, user,
         "all is sent and no FIN follows");
  expect(!user.drainOwed || unsent > 0 || !room, user, "there is room and drain was not called");
}

void Player::checkListener(const Group& group) {
  if (!group.listening || group.maxConnections > 0) return;
  for (const sim::KernelSocket* each : kernel_.state().listeners) {
    const bool own = group.path.empty()
                         ? each->local.port() == group.port && each->family != Family::unix
                         : each->path == group.path;
    expect(!own || each->accepted.empty(), "a connection waits and nobody accepts it");
  }
}

// The peers take what there is, until nothing more comes. It counts as it comes: a record may need
// many reads before anything of it is received.
void Player::readAll() {
  size_t came = 0;
  do {
    settle();
    came = 0;
    for (PeerEnd& peer : peers_) {
      if (peer.gone) continue;
      came += peer.peer.readable();
      readPeer(peer, SIZE_MAX);
    }
  } while (came > 0 && !failure_);
}

// Some may have opened only since the last time.
void Player::endAll() {
  for (size_t at = 0; at < users_.size(); ++at) {  // handlers may add some
    User& user = users_[at];
    if (!user.live() || std::exchange(user.sentHome, true)) continue;
    user.paused = false;
    user.socket.resume();
    user.key % 3 == 0 ? close(user, false) : end(user, 0);
  }
}

// Everybody goes home: nothing may be left.
void Player::finale() {
  calm();
  elapse(kCalm);
  settle();
  checkQuiet();
  if (failure_) return;
  over_ = true;
  for (Group& group : groups_) {
    if (group.listening) group.listener.stop();
    group.listening = false;
  }
  for (int round = 0; round < 200 && owned_->stats().sockets > 0 && !failure_; ++round) {
    endAll();
    readAll();
    for (PeerEnd& peer : peers_) {
      if (peer.sealed && !peer.gone) endSealed(peer, true);
      if (peer.sealed || peer.gone || std::exchange(peer.finished, true)) continue;
      peer.peer.shutdownWrite();
    }
    elapse(50);
  }
  readAll();
  elapse(500);  // timers of the program, and drains
  settle();
  checkCounts();
  if (failure_) return;
  for (const User& user : users_) {
    expect(user.refused || (user.opened && user.closed), user, "it never ended");
  }
  const Stats stats = owned_->stats();
  expect(stats.sockets == 0, "sockets are left");
  expect(stats.queuedBytes == 0, "bytes are left in outboxes of nobody");
  expect(drainsOwed_ == 0, "a drain was never done, or twice");
  expect(errors_ == thrown_ || tls_ != 0, "something that was thrown reached no error handler");
  expect(stats.slots <= std::min(groups_.size(), kStoppedListeners), "slots were not given back");
  expect(kernel_.openDescriptors().size() == 2, "descriptors are left besides the poller's");
}

}  // namespace warren::swarm
