import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/** Sends a webhook through Keybearer as its proxy: java Proxy.java */
class Proxy {
    public static void main(String[] args) throws Exception {
        var keybearer = URI.create(System.getenv("KEYBEARER_URL"));
        var client = HttpClient.newBuilder()
                .proxy(ProxySelector.of(new InetSocketAddress(keybearer.getHost(), keybearer.getPort())))
                .connectTimeout(Duration.ofSeconds(10))
                .build();

        var request = HttpRequest.newBuilder(URI.create("http://" + System.getenv("WEBHOOK_HOST") + "/hook"))
                // A header, and no Authenticator: that one waits for a 407 and then sends the body twice.
                .header("Proxy-Authorization", "Bearer " + System.getenv("KEYBEARER_TOKEN"))
                .header("Keybearer-Credential", System.getenv("KEYBEARER_CREDENTIAL"))
                .header("Content-Type", "application/json")
                .timeout(Duration.ofSeconds(30))
                .POST(HttpRequest.BodyPublishers.ofString("{\"text\": \"deployed\"}"))
                .build();
        var answer = client.send(request, HttpResponse.BodyHandlers.ofString());

        if (answer.headers().firstValue("Proxy-Status").orElse("").startsWith("keybearer; error=")) {
            System.err.println("keybearer: " + answer.body()); // a problem in JSON, with code and hint
            System.exit(1);
        }
        if (answer.statusCode() / 100 != 2) {
            System.err.println("the destination answered " + answer.statusCode());
            System.exit(1);
        }
        System.out.println(answer.body());
    }
}
