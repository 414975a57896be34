// The example postgres and a real PostgreSQL, to which TLS is an upgrade of a plain conversation.
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "support/examples.h"
#include "tls_peers.h"

namespace warren::test {
namespace {

// Where PostgreSQL's programs are; Debian keeps every version in a folder of its own.
std::string programsOfPostgres() {
  std::vector<std::string> folders;
  std::error_code none;
  for (const auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql", none)) {
    folders.push_back(version.path() / "bin");
  }
  const std::string newest =
      folders.empty() ? "" : *std::max_element(folders.begin(), folders.end());
  const std::string postgres = peerPath("postgres", newest);
  return postgres.substr(0, postgres.rfind('/'));
}

// A PostgreSQL with a database in a folder that goes with it. The user `warren` needs no password,
// `locked` does; everybody needs TLS.
class Postgres {
 public:
  Postgres(const std::string& programs, const Files& files) {
    giveAway(dir_.path(""));
    Child initdb(command({programs + "/initdb", "--pgdata", data(), "--username", "warren",
                          "--auth", "trust", "--no-sync", "--no-locale", "--encoding", "UTF8"}));
    if (initdb.wait() != 0) throw std::runtime_error(initdb.errors().rest());
    for (const std::string name : {"cert.pem", "key.pem"}) {
      std::filesystem::copy(files.path(name), data() + "/" + name);
      std::filesystem::permissions(data() + "/" + name, std::filesystem::perms::owner_read);
      giveAway(data() + "/" + name);
    }
    std::ofstream(data() + "/pg_hba.conf") << "hostssl all locked 127.0.0.1/32 scram-sha-256\n"
                                              "hostssl all warren 127.0.0.1/32 trust\n";
    std::vector<std::string> start{programs + "/postgres", "-D", data(), "-p",
                                   std::to_string(port())};
    for (const std::string setting :
         {"listen_addresses=127.0.0.1", "unix_socket_directories=", "ssl=on", "fsync=off",
          "ssl_cert_file=cert.pem", "ssl_key_file=key.pem"}) {
      start.insert(start.end(), {"-c", setting});
    }
    child_.emplace(command(start));
    if (child_->errors().lineWith("ready to accept connections").empty()) {
      throw std::runtime_error("postgres has not started");
    }
  }
  // Lets it end its own children, and give back what it shares with them.
  ~Postgres() {
    child_->signal(SIGQUIT);
    child_->wait();
  }
  uint16_t port() const { return reserved_.port(); }

 private:
  std::string data() const { return dir_.path("data"); }

  // PostgreSQL refuses to be root: then it is somebody who owns nothing else.
  static const passwd* owner() { return ::geteuid() == 0 ? ::getpwnam("nobody") : nullptr; }
  static void giveAway(const std::string& path) {
    const passwd* const other = owner();
    if (other == nullptr) return;
    if (::chown(path.c_str(), other->pw_uid, other->pw_gid) < 0) {
      throw std::system_error(errno, std::generic_category(), path);
    }
  }
  static std::vector<std::string> command(std::vector<std::string> words) {
    if (const passwd* const other = owner(); other != nullptr) {
      words.insert(words.begin(), {"setpriv", "--reuid", std::to_string(other->pw_uid), "--regid",
                                   std::to_string(other->pw_gid), "--clear-groups"});
    }
    return words;
  }

  TempDir dir_;
  RawSocket reserved_ = RawSocket::reserveTcp();
  std::optional<Child> child_;
};

struct Outcome {
  int code = 0;
  std::string rows;
  std::string problem;
};

Outcome ask(uint16_t port, const std::string& user, const std::string& query,
            std::vector<std::string> more) {
  more.insert(more.begin(),
              {example("postgres"), "127.0.0.1", std::to_string(port), user, "postgres", query});
  Child client(more);
  const int code = client.wait();
  return {code, client.output().rest(), client.errors().rest()};
}

}  // namespace

TEST_CASE("postgres prints what PostgreSQL answers, and what it refuses",
          "[peers][tls][examples]") {
  const std::string programs = programsOfPostgres();
  if (programs.empty()) return;
  const Files files;
  const Postgres server(programs, files);
  const std::vector<std::string> trust{"--ca", files.path("ca.pem"), "--server-name", "localhost"};
  const auto asked = [&](const std::string& query) {
    return ask(server.port(), "warren", query, trust);
  };
  const Outcome rows = asked("SELECT 1, NULL, 'zwei' UNION ALL SELECT 2, '', 'drei'");
  INFO(rows.problem);
  REQUIRE(rows.code == 0);
  REQUIRE(rows.rows == "1\tNULL\tzwei\n2\t\tdrei\n");
  REQUIRE(asked("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").rows ==
          "TLSv1.3\n");
  const Outcome many = asked("SELECT repeat('x', 100000) FROM generate_series(1, 20)");
  REQUIRE(many.code == 0);
  REQUIRE(many.rows.size() == 20 * 100'001);

  const Outcome wrong = asked("SELECT nonsense");
  REQUIRE(wrong.code == 1);
  REQUIRE(wrong.problem == "postgres: ERROR: column \"nonsense\" does not exist\n");
  REQUIRE(asked("COPY pg_class FROM STDIN").problem ==
          "postgres: ERROR: COPY from stdin failed: no data\n");
  REQUIRE(ask(server.port(), "nobody", "SELECT 1", trust)
              .problem.starts_with("postgres: FATAL: no pg_hba.conf entry"));
  REQUIRE(ask(server.port(), "locked", "SELECT 1", trust).problem ==
          "postgres: the server wants a password, and there is none\n");

  // Nothing but the request for TLS goes to a server that does not verify.
  const Outcome stranger =
      ask(server.port(), "warren", "SELECT 1", {"--ca", files.path("stranger.pem")});
  REQUIRE(stranger.code == 1);
  REQUIRE(contains(stranger.problem, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"));
  const Outcome other = ask(server.port(), "warren", "SELECT 1",
                            {"--ca", files.path("ca.pem"), "--server-name", "elsewhere.example"});
  REQUIRE(other.code == 1);
  REQUIRE(contains(other.problem, "ERR_TLS_CERT_ALTNAME_INVALID"));
}

TEST_CASE("postgres says nothing more to a server that does not encrypt",
          "[peers][tls][examples]") {
  const auto [answer, problem] = GENERATE(table<std::string, std::string>(
      {{"N", "postgres: the server does not encrypt\n"},
       {"E", "postgres: this is no PostgreSQL server\n"},
       // What somebody in between puts behind the answer was not encrypted.
       {"SR", "postgres: handshake: 1 bytes came behind the command\n"}}));
  RawSocket listening = RawSocket::listenTcp();
  Child client({example("postgres"), "127.0.0.1", std::to_string(listening.port()), "warren",
                "postgres", "SELECT 1"});
  RawSocket server = listening.accept();
  REQUIRE(server.readExactly(8) == std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8));
  server.sendAll(answer);
  REQUIRE(server.readAll().empty());
  server.close();
  REQUIRE(client.wait() == 1);
  const std::string told = client.errors().rest();
  INFO(told);
  REQUIRE(contains(told, problem));
}

}  // namespace warren::test
